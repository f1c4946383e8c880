//! How much a stream may ask of us.

/// Bounds on one direction of a stream (`security.md` §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// XML declaration and stream header, in bytes. Default 4 KiB.
    pub header_bytes_max: usize,
    /// A first-level element with everything in it, in bytes.
    pub stanza_bytes_max: usize,
    /// Elements within one another, the stream itself counted. Default 64.
    pub depth_max: usize,
    /// Attributes of an element, namespace declarations counted. Default 64.
    pub attributes_max: usize,
    /// An element's or attribute's name, in bytes. Default 1 KiB.
    pub name_bytes_max: usize,
    /// Namespace prefixes declared at a time. Default 128.
    pub prefixes_max: usize,
}

impl Limits {
    /// For a stranger: 10 KiB an element.
    pub const STRANGER: Limits = Limits {
        header_bytes_max: 4 * 1024,
        stanza_bytes_max: 10 * 1024,
        depth_max: 64,
        attributes_max: 64,
        name_bytes_max: 1024,
        prefixes_max: 128,
    };

    /// For a client that has signed in: 256 KiB a stanza.
    pub const SIGNED_IN: Limits = Limits {
        stanza_bytes_max: 256 * 1024,
        ..Limits::STRANGER
    };

    /// For an inside server while a client signs in: 64 KiB an element.
    pub const SERVER_GREETING: Limits = Limits {
        stanza_bytes_max: 64 * 1024,
        attributes_max: 256,
        ..Limits::STRANGER
    };

    /// For an inside server afterwards: 16 MiB a stanza, of which nothing is kept.
    pub const SERVER: Limits = Limits {
        stanza_bytes_max: 16 * 1024 * 1024,
        depth_max: 256,
        attributes_max: 256,
        ..Limits::STRANGER
    };
}
