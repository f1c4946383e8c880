//! Namespaces.

/// The stream itself (RFC 6120 §4.8.1).
pub(crate) const STREAM: &str = "http://etherx.jabber.org/streams";
/// A client's content (RFC 6120 §4.8.2).
pub(crate) const CLIENT: &str = "jabber:client";
/// STARTTLS (RFC 6120 §5).
pub(crate) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 §6).
pub(crate) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding (RFC 6120 §7).
pub(crate) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Conditions of errors in stanzas (RFC 6120 §8.3.3).
pub(crate) const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// SASL with less round trips (XEP-0388).
pub(crate) const SASL2: &str = "urn:xmpp:sasl:2";
/// Channel-binding types (XEP-0440).
pub(crate) const CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Compression as a feature (XEP-0138).
pub(crate) const COMPRESS: &str = "http://jabber.org/features/compress";
/// Stream management (XEP-0198).
pub(crate) const MANAGEMENT: &str = "urn:xmpp:sm:3";
