//! The stream header (RFC 6120 §4.7).

use base::Pii;
use quick_xml::NsReader;
use quick_xml::events::Event;

use crate::tree;
use crate::{Violation, ns};

/// What a stream header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// The domain asked for, as written.
    pub to: Option<String>,
    /// Who opens the stream.
    pub from: Option<Pii<String>>,
    /// The stream's name, given by the server.
    pub id: Option<String>,
    /// The default language.
    pub lang: Option<String>,
    /// The content's namespace: `jabber:client`.
    pub content: String,
    /// Major and minor; absent before RFC 3920.
    pub version: Option<(u32, u32)>,
}

impl StreamHeader {
    /// Reads XML declaration and start tag.
    ///
    /// # Errors
    /// [`Violation::Namespace`] if it is no stream's, [`Violation::Encoding`] if the declaration
    /// names another encoding than UTF-8, [`Violation::Version`] if a version is no number.
    pub fn read(bytes: &[u8]) -> Result<Self, Violation> {
        const DECLARATION: Violation = Violation::NotWellFormed("a malformed XML declaration");
        let text = std::str::from_utf8(bytes).map_err(|_| Violation::Encoding)?;
        let mut reader = NsReader::from_str(text.trim_ascii_start());
        loop {
            let (namespace, event) = reader
                .read_resolved_event()
                .map_err(|_| Violation::NotWellFormed("a malformed stream header"))?;
            match event {
                Event::Decl(declaration) => {
                    if !declaration.version().is_ok_and(|v| v == "1.0") {
                        return Err(DECLARATION);
                    }
                    match declaration.encoding() {
                        None => {}
                        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") => {}
                        Some(Ok(_)) => return Err(Violation::Encoding),
                        Some(Err(_)) => return Err(DECLARATION),
                    }
                }
                Event::Text(_) => {}
                Event::Start(tag) => {
                    let is_stream = tree::bound(namespace)? == ns::STREAM;
                    if !is_stream || tag.local_name().into_inner() != "stream" {
                        return Err(Violation::Namespace);
                    }
                    return Self::of(tree::attributes(&tag)?);
                }
                _ => return Err(Violation::Namespace),
            }
        }
    }

    fn of(attributes: Vec<(String, String)>) -> Result<Self, Violation> {
        let mut header = StreamHeader {
            to: None,
            from: None,
            id: None,
            lang: None,
            content: String::new(),
            version: None,
        };
        for (name, value) in attributes {
            match &*name {
                "to" => header.to = Some(value),
                "from" => header.from = Some(Pii::new(value)),
                "id" => header.id = Some(value),
                "xml:lang" => header.lang = Some(value),
                "xmlns" => header.content = value,
                "version" => header.version = Some(version(&value).ok_or(Violation::Version)?),
                _ => {}
            }
        }
        Ok(header)
    }

    /// Checks what every client's header must have (RFC 6120 §4.7.5, §4.8.2).
    ///
    /// # Errors
    /// [`Violation::Namespace`], [`Violation::Version`].
    pub fn check_client(&self) -> Result<(), Violation> {
        if self.content != ns::CLIENT {
            return Err(Violation::Namespace);
        }
        match self.version {
            Some((1.., _)) => Ok(()),
            _ => Err(Violation::Version),
        }
    }

    /// Whether the stream is for `domain`, compared without regard to case and a final dot.
    pub fn is_for(&self, domain: &str) -> bool {
        let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.to
            .as_deref()
            .is_some_and(|to| bare(to) == bare(domain))
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    Some((number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(attributes: &str) -> Result<StreamHeader, Violation> {
        let text = format!("<?xml version='1.0'?>\n<stream:stream {attributes}>");
        StreamHeader::read(text.as_bytes())
    }

    #[test]
    fn a_clients_header_is_read() {
        let read = header(
            "to='Example.TEST.' from='alice@example.test' version='1.0' xml:lang='de' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'",
        )
        .unwrap();
        assert!(read.is_for("example.test") && !read.is_for("other.test"));
        assert_eq!(
            (read.lang.as_deref(), read.version),
            (Some("de"), Some((1, 0)))
        );
        assert_eq!(read.check_client(), Ok(()));
        assert!(!format!("{read:?}").contains("alice"));
    }

    #[test]
    fn wrong_headers_say_what_is_wrong() {
        const STREAM: &str = "xmlns:stream='http://etherx.jabber.org/streams'";
        assert_eq!(header("xmlns:stream='u'"), Err(Violation::Namespace));
        let checked = |attributes: &str| {
            header(&format!("{STREAM} {attributes}")).and_then(|h| h.check_client())
        };
        assert_eq!(checked("version='1.0'"), Err(Violation::Namespace));
        assert_eq!(
            checked("xmlns='jabber:server' version='1.0'"),
            Err(Violation::Namespace)
        );
        assert_eq!(checked("xmlns='jabber:client'"), Err(Violation::Version));
        assert_eq!(
            checked("xmlns='jabber:client' version='0.9'"),
            Err(Violation::Version)
        );
        assert_eq!(
            checked("xmlns='jabber:client' version='x'"),
            Err(Violation::Version)
        );
        assert_eq!(checked("xmlns='jabber:client' version='1.1'"), Ok(()));
        let tag = format!("<stream:stream {STREAM}>");
        let read = |declaration: &str| {
            StreamHeader::read(format!("{declaration}{tag}").as_bytes()).map(|_| ())
        };
        assert_eq!(read("<?xml version='1.0' encoding='utf-8'?>"), Ok(()));
        assert_eq!(
            read("<?xml version='1.0' encoding='UTF-16'?>"),
            Err(Violation::Encoding)
        );
        assert!(read("<?xml version='1.1'?>").is_err() && read("<?xml ?>").is_err());
        assert_eq!(StreamHeader::read(b"<a/>"), Err(Violation::Namespace));
        assert!(StreamHeader::read(b"").is_err());
    }
}
