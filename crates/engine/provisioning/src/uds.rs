//! Unified CM's user data service: what a sign-in reads of its answers (`protocol.md` §3).

use roxmltree::{Document, Node};

/// The largest answer read, in bytes.
pub const BYTES_MAX: usize = 1024 * 1024;

/// An answer that is no document of the service's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no {expected}: {found}")]
pub struct UdsError {
    /// The root element wanted.
    pub expected: &'static str,
    /// What came.
    pub found: String,
}

/// Where a user is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Host of the user's home cluster.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Who a user is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user id in the case Unified CM keeps it.
    pub name: String,
    /// Extensions and numbers.
    pub lines: Vec<String>,
}

fn document<'a>(text: &'a str, expected: &'static str) -> Result<Document<'a>, UdsError> {
    let error = |found: String| UdsError { expected, found };
    if text.len() > BYTES_MAX {
        return Err(error(format!("{} bytes", text.len())));
    }
    // A DTD, and with it every entity trick, is refused by the parser.
    crate::axl::BOUNDS
        .check(text)
        .map_err(|cause| error(cause.to_owned()))?;
    let document = Document::parse(text).map_err(|e| error(e.to_string()))?;
    let root = document.root_element().tag_name().name().to_owned();
    if root == expected {
        Ok(document)
    } else {
        Err(error(format!("<{root}>")))
    }
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|n| n.tag_name().name() == name)
}

fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    let found = node.children().find(|n| n.tag_name().name() == name)?;
    let text = found.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads `clusterUser`: `None` if no cluster knows the user.
///
/// # Errors
/// [`UdsError`].
pub fn cluster_user(text: &str) -> Result<Option<Home>, UdsError> {
    let document = document(text, "clusterUser")?;
    let root = document.root_element();
    let found = child(root, "result").is_some_and(|r| {
        r.attribute("found")
            .is_some_and(|f| f.eq_ignore_ascii_case("true"))
    });
    if !found {
        return Ok(None);
    }
    let uri = child(root, "homeCluster").and_then(|h| h.attribute("serversUri"));
    let from_uri = uri.and_then(host_port_of_uri);
    let named = text_of(root, "homeCluster").map(|host| Home { host, port: 8443 });
    let home = match (named, from_uri) {
        (Some(named), Some(uri)) => Some(Home {
            port: uri.port,
            ..named
        }),
        (named, uri) => named.or(uri),
    };
    let missing = || UdsError {
        expected: "clusterUser",
        found: "no homeCluster".into(),
    };
    home.map(Some).ok_or_else(missing)
}

fn host_port_of_uri(uri: &str) -> Option<Home> {
    let rest = uri.strip_prefix("https://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, 443),
    };
    (!host.is_empty()).then(|| Home {
        host: host.to_owned(),
        port,
    })
}

/// Reads `servers`: the nodes of a cluster.
///
/// # Errors
/// [`UdsError`].
pub fn servers(text: &str) -> Result<Vec<String>, UdsError> {
    let document = document(text, "servers")?;
    let names = document
        .root_element()
        .children()
        .filter(|n| n.tag_name().name() == "server");
    Ok(names
        .filter_map(|n| n.text())
        .map(|t| t.trim().to_owned())
        .filter(|t| !t.is_empty())
        .collect())
}

/// Reads `user`.
///
/// # Errors
/// [`UdsError`].
pub fn user(text: &str) -> Result<User, UdsError> {
    let document = document(text, "user")?;
    let root = document.root_element();
    let missing = || UdsError {
        expected: "user",
        found: "no userName".into(),
    };
    let name = text_of(root, "userName").ok_or_else(missing)?;
    let mut lines: Vec<String> = ["phoneNumber", "primaryExtension", "selfServiceId"]
        .iter()
        .filter_map(|name| text_of(root, name))
        .collect();
    lines.sort();
    lines.dedup();
    Ok(User { name, lines })
}

/// Reads `devices`: the names of a user's devices.
///
/// # Errors
/// [`UdsError`].
pub fn devices(text: &str) -> Result<Vec<String>, UdsError> {
    let document = document(text, "devices")?;
    let devices = document
        .root_element()
        .children()
        .filter(|n| n.tag_name().name() == "device");
    Ok(devices.filter_map(|d| text_of(d, "name")).collect())
}

/// Numbers taken from one user's extensions.
const EXTENSIONS_MAX: usize = 32;

/// Reads `extensions`: the directory numbers of a user's lines, on all his devices.
///
/// # Errors
/// [`UdsError`].
pub fn extensions(text: &str) -> Result<Vec<String>, UdsError> {
    let document = document(text, "extensions")?;
    let extensions = document
        .root_element()
        .children()
        .filter(|n| n.tag_name().name() == "extension");
    let number = |e| text_of(e, "directoryNumber").or_else(|| text_of(e, "number"));
    let numbers = extensions.filter_map(number);
    Ok(numbers.take(EXTENSIONS_MAX).collect())
}

/// Text for a path segment or a query value.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_a_users_directory_numbers() {
        let all = "<extensions version=\"12.5\"><extension uri=\"u\"><id>1</id>\
                   <directoryNumber>1001</directoryNumber><type>primary</type></extension>\
                   <extension><number> 1002 </number></extension><extension/></extensions>";
        assert_eq!(extensions(all).unwrap(), ["1001", "1002"]);
        assert!(extensions("<devices/>").is_err());
    }

    #[test]
    fn the_services_documents_are_read() {
        let found = "<clusterUser version=\"10.0.0\" uri=\"x\"><result found=\"true\" uri=\"y\"/>\
            <homeCluster serversUri=\"https://cucm1.example.com:8443/cucm-uds/servers\">\
            cucm1.example.com</homeCluster></clusterUser>";
        let home = Home {
            host: "cucm1.example.com".into(),
            port: 8443,
        };
        assert_eq!(cluster_user(found), Ok(Some(home)));
        assert_eq!(
            cluster_user("<clusterUser><result found=\"false\"/></clusterUser>"),
            Ok(None)
        );
        assert_eq!(
            servers("<servers><server>a</server><server> b </server></servers>"),
            Ok(vec!["a".into(), "b".into()])
        );
        let alice = "<user><userName>alice</userName><phoneNumber>1001</phoneNumber></user>";
        assert_eq!(
            user(alice),
            Ok(User {
                name: "alice".into(),
                lines: vec!["1001".into()]
            })
        );
        assert_eq!(
            devices("<devices><device><id>1</id><name>CSFALICE</name></device></devices>"),
            Ok(vec!["CSFALICE".into()])
        );
    }

    #[test]
    fn bombs_and_other_documents_are_refused() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><user><userName>&a;</userName></user>";
        assert!(user(bomb).is_err());
        assert!(user("<html/>").is_err() && user("").is_err() && servers("{}").is_err());
        assert!(user(&"<user>".repeat(300_000)).is_err());
        assert_eq!(percent_encode("al ice/../x"), "al%20ice%2F..%2Fx");
    }
}
