//! Handshakes with a time limit, and what they proved.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::Secret;
use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroize;

use super::lean::Lean;
use super::names::{self, NameMismatch, PeerCertificate};
use super::refused::Refused;
use crate::{Error, Fault, clock};

/// A TLS stream of either side.
pub type Stream<S> = tokio_rustls::TlsStream<S>;

/// Answers a handshake.
///
/// # Errors
/// [`Error::Handshake`], with cause and cure.
pub async fn accept<S>(
    config: Arc<ServerConfig>,
    stream: S,
    within: Duration,
) -> Result<Stream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match tokio::time::timeout(within, TlsAcceptor::from(config).accept(stream)).await {
        Err(_) => Err(too_slow(within)),
        Ok(Err(e)) => Err(explain(&e)),
        Ok(Ok(stream)) => Ok(Stream::Server(stream)),
    }
}

/// The same, for connections that are idle most of their time.
///
/// # Errors
/// [`Error::Handshake`], with cause and cure.
pub async fn accept_lean<S>(
    config: Arc<ServerConfig>,
    stream: S,
    within: Duration,
) -> Result<Lean<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match tokio::time::timeout(within, Lean::accept(config, stream)).await {
        Err(_) => Err(too_slow(within)),
        Ok(accepted) => accepted.map_err(|e| explain(&e)),
    }
}

/// Begins a handshake. `name` (DNS name or IP address) goes into SNI, and is what an inside
/// server's certificate must carry; on a link the configuration's own name counts.
///
/// # Errors
/// [`Error::Handshake`], with cause and cure.
pub async fn connect<S>(
    config: Arc<ClientConfig>,
    name: &str,
    stream: S,
    within: Duration,
) -> Result<Stream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let server = ServerName::try_from(name.to_owned()).map_err(|_| Error::Handshake {
        fault: Fault::Other,
        cause: format!("{name} is no DNS name or IP address"),
        fix: "correct the name in the configuration".into(),
    })?;
    match tokio::time::timeout(within, TlsConnector::from(config).connect(server, stream)).await {
        Err(_) => Err(too_slow(within)),
        Ok(Err(e)) => Err(explain(&e)),
        Ok(Ok(stream)) => Ok(Stream::Client(stream)),
    }
}

/// The peer's certificate, if it showed one, and the first of `accepted` that it carries.
pub fn peer<'a, S>(
    stream: &Stream<S>,
    accepted: &'a [String],
) -> Option<(PeerCertificate, Option<&'a str>)> {
    let (_, state) = stream.get_ref();
    let der = state.peer_certificates()?.first()?;
    Some((
        PeerCertificate::of(der).ok()?,
        names::proves(der, accepted).ok(),
    ))
}

/// The ALPN protocol agreed on.
pub fn negotiated<S>(stream: &Stream<S>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}

/// The connection below and the session, for whoever reads and writes without a runtime.
pub fn into_parts<S>(stream: Stream<S>) -> (S, rustls::Connection) {
    match stream {
        Stream::Client(s) => {
            let (below, session) = s.into_inner();
            (below, session.into())
        }
        Stream::Server(s) => {
            let (below, session) = s.into_inner();
            (below, session.into())
        }
    }
}

/// `N` bytes that both ends of this very connection know and nobody else (RFC 8446 §7.5,
/// RFC 5705).
///
/// # Errors
/// [`Error::Tls`] before the handshake is over.
pub fn export<S, const N: usize>(stream: &Stream<S>, label: &[u8]) -> Result<Secret<[u8; N]>, Error>
where
    [u8; N]: Zeroize,
{
    let out = [0; N];
    let out = match stream {
        Stream::Client(s) => s.get_ref().1.export_keying_material(out, label, None)?,
        Stream::Server(s) => s.get_ref().1.export_keying_material(out, label, None)?,
    };
    Ok(Secret::new(out))
}

fn too_slow(within: Duration) -> Error {
    Error::Handshake {
        fault: Fault::Timeout,
        cause: format!("the peer did not finish within {} s", within.as_secs()),
        fix: "check that the peer speaks TLS on this port and that no firewall drops packets"
            .into(),
    }
}

/// Turns a TLS stream's error into cause and cure. Also for the first read of a dialled link: with
/// TLS 1.3 that is where the client learns that its certificate was refused.
pub fn explain(error: &io::Error) -> Error {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        let closed = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        );
        return Error::Handshake {
            fault: if closed { Fault::Closed } else { Fault::Other },
            cause: if closed {
                "the peer closed the connection".into()
            } else {
                error.to_string()
            },
            fix: "look in the peer's log for the reason".into(),
        };
    };
    let (fault, mut fix) = judge(inner);
    if fault == Fault::Dates {
        fix = mend_dates(clock::read());
    }
    let cause = match (mismatch(inner), refused(inner)) {
        (Some(m), _) => m.to_string(),
        (None, Some(refused)) => refused.to_string(),
        (None, None) => inner.to_string(),
    };
    Error::Handshake {
        fault,
        cause,
        fix: fix.into(),
    }
}

/// Why a connection broke, in words for a log; TLS or not.
pub fn cause(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    if let Some(inner) = inner {
        return match judge(inner) {
            (Fault::WeAreRefused, _) => {
                format!("the peer refused this node's certificate ({inner}): its log tells why")
            }
            _ => inner.to_string(),
        };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "closed by the peer without notice".into(),
        io::ErrorKind::ConnectionReset => "reset by the peer".into(),
        _ => error.to_string(),
    }
}

fn mismatch(error: &rustls::Error) -> Option<&NameMismatch> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<NameMismatch>()
        }
        _ => None,
    }
}

fn refused(error: &rustls::Error) -> Option<&Refused> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<Refused>()
        }
        _ => None,
    }
}

/// A certificate's dates are wrong, or this machine's clock is.
fn mend_dates(clock: Option<clock::Reading>) -> &'static str {
    if clock.is_some_and(|c| !c.synchronised) {
        "this machine's clock is not synchronised by NTP, so the fault may be its: synchronise it \
         first, and renew the peer's certificate if its dates are wrong even then"
    } else {
        "renew the peer's certificate, and check the clocks of both machines"
    }
}

fn judge(error: &rustls::Error) -> (Fault, &'static str) {
    use rustls::Error as E;
    const NAME: &str = "set the verify name to a name of the peer's certificate, or give the peer \
                        a certificate with the expected name in subjectAltName";
    match error {
        e if mismatch(e).is_some() => (Fault::NameMismatch, NAME),
        E::InvalidCertificate(CertificateError::Other(other)) if other.0.is::<Refused>() => {
            let why = refused(error).map(|r| r.why.clone());
            judge(&E::InvalidCertificate(
                why.unwrap_or(CertificateError::BadEncoding),
            ))
        }
        E::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            (
                Fault::Untrusted,
                "add the authority that issued the peer's certificate to the trusted certificates, \
             and let the peer send its intermediates",
            )
        }
        E::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => (
            Fault::Dates,
            "renew the peer's certificate, and check the clocks of both machines",
        ),
        E::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (Fault::NameMismatch, NAME),
        E::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => (
            Fault::BadCertificate,
            "have the peer's certificate issued for both server and client authentication",
        ),
        E::InvalidCertificate(_) => (
            Fault::BadCertificate,
            "have the peer's certificate issued again",
        ),
        E::NoCertificatesPresented => (
            Fault::NoCertificate,
            "give the peer a certificate; this port wants one",
        ),
        E::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateRequired
            | AlertDescription::AccessDenied,
        ) => (
            Fault::WeAreRefused,
            "the peer refused our certificate: its log tells why; check the name it expects and \
             the authorities it trusts",
        ),
        E::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol,
        )
        | E::PeerIncompatible(_)
        | E::NoApplicationProtocol => (
            Fault::NothingInCommon,
            "let the peer offer TLS 1.2 or 1.3 with an ECDHE AEAD suite and the port's protocol",
        ),
        E::InvalidMessage(_) => (Fault::NotTls, "let the peer speak TLS on this port"),
        _ => (Fault::Other, "look in the peer's log for the reason"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_dates_name_the_clock_where_nothing_steers_it() {
        let reading = |synchronised| clock::Reading {
            synchronised,
            offset_us: 0,
            error_us: 0,
        };
        assert!(mend_dates(Some(reading(false))).contains("not synchronised by NTP"));
        assert!(mend_dates(Some(reading(true))).starts_with("renew the peer's"));
        assert!(mend_dates(None).starts_with("renew the peer's"));
    }

    #[test]
    fn cause_of_a_broken_connection_is_in_plain_words() {
        let silent = io::Error::new(io::ErrorKind::UnexpectedEof, "see https://docs.rs/rustls");
        assert_eq!(cause(&silent), "closed by the peer without notice");
        let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let refused = cause(&io::Error::new(io::ErrorKind::InvalidData, alert));
        assert!(refused.starts_with("the peer refused this node's certificate"));
        assert_eq!(cause(&io::Error::other("odd")), "odd");
    }
}
