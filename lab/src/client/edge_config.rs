//! What `get_edge_config` says, read as clients read it.

use anyhow::{Context, Result, bail};
use minidom::Element;

/// A namespace for elements that have none: minidom wants one.
const NONE: &str = "none";

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EdgeConfig {
    /// Where SIP goes: host and TLS port.
    pub(crate) sip: Vec<(String, u16)>,
    /// Where XMPP goes.
    pub(crate) xmpp: Vec<(String, u16)>,
    /// Where HTTPS goes.
    pub(crate) https: Vec<(String, u16)>,
    /// The user's UDS servers.
    pub(crate) uds: Vec<(String, u16)>,
    /// File servers.
    pub(crate) files: Vec<String>,
    /// The route to put before SIP requests.
    pub(crate) route: Option<String>,
    /// Names of services that were asked for: the servers, or none if the inside has no such name.
    pub(crate) services: Vec<(String, Vec<(String, u16)>)>,
}

impl EdgeConfig {
    /// Reads it.
    ///
    /// # Errors
    /// No XML, another root, or one of the servers that a client cannot do without is missing.
    pub(crate) fn read(xml: &[u8]) -> Result<EdgeConfig> {
        let root = element(xml)?;
        if root.name() != "getEdgeConfigResponse" {
            bail!("the root is <{}>", root.name());
        }
        let edge = child(&root, "edgeConfig").context("no edgeConfig")?;
        let servers = |list: &str| child(edge, list).map(servers).unwrap_or_default();
        let route = child(edge, "sipRequest").and_then(|request| child(request, "route"));
        let mut config = EdgeConfig {
            sip: servers("sipEdgeServer"),
            xmpp: servers("xmppEdgeServer"),
            https: servers("httpEdgeServer"),
            uds: servers("userUdsServer"),
            files: Vec::new(),
            route: route.map(Element::text).filter(|route| !route.is_empty()),
            services: Vec::new(),
        };
        for service in child(&root, "serviceConfig")
            .into_iter()
            .flat_map(Element::children)
        {
            let name = child(service, "name")
                .map(Element::text)
                .unwrap_or_default();
            if name == "tftpServer" {
                let addresses = service.children().filter(|c| c.name() == "address");
                config.files = addresses.map(Element::text).collect();
            } else {
                config.services.push((name, self::servers(service)));
            }
        }
        for (name, list) in [
            ("sipEdgeServer", &config.sip),
            ("userUdsServer", &config.uds),
        ] {
            if list.iter().all(|(host, _)| host.is_empty()) {
                bail!("no {name}");
            }
        }
        Ok(config)
    }
}

/// Parses a document whose elements have no namespace.
///
/// # Errors
/// It is no XML.
pub(crate) fn element(xml: &[u8]) -> Result<Element> {
    Element::from_reader_with_prefixes(xml, NONE.to_owned()).context("an XML document")
}

/// The first child of that name, whatever its namespace.
pub(crate) fn child<'a>(parent: &'a Element, name: &str) -> Option<&'a Element> {
    parent.children().find(|child| child.name() == name)
}

/// The first descendant of that name, whatever its namespace.
pub(crate) fn descendant<'a>(parent: &'a Element, name: &str) -> Option<&'a Element> {
    parent.children().find_map(|child| {
        if child.name() == name {
            Some(child)
        } else {
            descendant(child, name)
        }
    })
}

fn servers(list: &Element) -> Vec<(String, u16)> {
    let server = |server: &Element| {
        let address = child(server, "address")?.text();
        let port = child(server, "tlsPort")
            .or_else(|| child(server, "port"))?
            .text();
        Some((address, port.parse().ok()?))
    };
    list.children()
        .filter(|child| child.name() == "server")
        .filter_map(server)
        .collect()
}
