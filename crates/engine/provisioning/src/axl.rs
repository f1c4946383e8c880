//! What a cluster is, by AXL (`protocol.md` §4.1): its nodes (`listProcessNode`), whether it is in
//! mixed mode (`executeSQLQuery`), and where its phones register (`listCallManager`). What else is
//! read of it stands in [`settings`].
//!
//! Bounds: an answer has [`BYTES_MAX`]; a name that is longer than [`NAME_MAX`], or holds a control
//! character, names nothing; other words are cut at [`WORDS_MAX`].

use base::{XmlBounds, line};
use roxmltree::Document;

use crate::edge_config::escape;

pub mod settings;

/// The largest answer read, in bytes.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What an answer of an inside server may cost its reader.
pub(crate) const BOUNDS: XmlBounds = XmlBounds {
    levels: 64,
    elements: 500_000,
    attributes: 500_000,
};

/// The longest name taken, in bytes: no host's, profile's or region's is longer.
pub const NAME_MAX: usize = 255;

/// The most kept of words for people, in bytes.
pub const WORDS_MAX: usize = 200;

/// A name as it may be kept, logged and shown.
pub(crate) fn name(text: &str) -> Option<&str> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= NAME_MAX;
    (fits && !text.contains(char::is_control)).then_some(text)
}

/// Words for people, in one line.
pub(crate) fn words(text: &str) -> String {
    line(text.trim(), WORDS_MAX).into_owned()
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Call control.
    VoiceVideo,
    /// IM and presence.
    ImPresence,
    /// Voicemail, which speaks no AXL.
    Voicemail,
}

/// A node as the publisher names it; the name is used as it is for DNS and certificates (F138).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name or address.
    pub name: String,
    /// Its key in the database, which stays when it is renamed; empty if it was not told.
    pub id: String,
    /// What it does; unknown where the schema does not tell.
    pub duty: Option<Duty>,
}

/// Why discovery failed, in the guide's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AxlError {
    /// 401.
    #[error("the user name or password was refused (401)")]
    Credentials,
    /// 403.
    #[error("the account lacks the role Standard AXL API Access (403)")]
    Role,
    /// 404 or 503; at 503 the service may be there and throttle.
    #[error("the Cisco AXL Web Service is not active ({0}){more}", more = throttles(*.0))]
    Inactive(u16),
    /// 599.
    #[error("the server does not speak this version of AXL (599)")]
    Version,
    /// A SOAP fault.
    #[error("the server answered with a fault: {0}")]
    Fault(String),
    /// A page for people.
    #[error("an HTML page came in place of an answer (status {0}): no AXL is served there")]
    Page(u16),
    /// Anything else.
    #[error("the answer is no AXL: {0}")]
    Malformed(String),
}

fn throttles(status: u16) -> &'static str {
    match status {
        503 => ", or it throttles requests",
        _ => "",
    }
}

impl AxlError {
    /// What an administrator can do.
    pub fn fix(&self) -> &'static str {
        match self {
            AxlError::Credentials => {
                "set user and password of the publisher's block; it is asked again every 15 \
                 minutes only, so that the account is not locked: then causeway ctl servers refresh"
            }
            AxlError::Role => {
                "give the account the role Standard AXL API Access: User Management > Access \
                 Control Group"
            }
            AxlError::Inactive(503) => {
                "activate Cisco AXL Web Service under Serviceability > Tools > Service Activation; \
                 if it is active, another program asks too much of it"
            }
            AxlError::Inactive(_) | AxlError::Page(_) => {
                "activate Cisco AXL Web Service under Serviceability > Tools > Service Activation, \
                 and see that the block names the publisher"
            }
            AxlError::Version => "use a release from 9.1 on",
            AxlError::Fault(_) | AxlError::Malformed(_) => {
                "see that the block names the database publisher of this product, and its port"
            }
        }
    }
}

/// The schemas spoken, which later servers accept too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schema {
    /// Tells what each node does.
    #[default]
    V10_0,
    /// The oldest the guide supports (F032), asked of servers that do not speak 10.0.
    V9_1,
}

impl Schema {
    fn version(self) -> &'static str {
        match self {
            Schema::V10_0 => "10.0",
            Schema::V9_1 => "9.1",
        }
    }
}

/// Where phones register without encryption, unless a node says otherwise.
pub const TCP_PORT: u16 = 5060;

/// Where phones with secure profiles register, unless a node says otherwise.
pub const TLS_PORT: u16 = 5061;

/// The path requests are posted to.
pub const PATH: &str = "/axl/";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Which nodes there are.
    Nodes,
    /// Whether the cluster is in mixed mode.
    SecurityMode,
    /// Where phones register.
    LinePorts,
    /// The product's version.
    Version,
    /// Phone security profiles.
    Profiles,
    /// Whether anything that is read may have changed, for little.
    Fingerprint,
    /// The same of an IM and presence cluster.
    NodesFingerprint,
    /// Regions that leave video little.
    Regions,
    /// Where phones take their time from.
    PhoneTime,
    /// How much one host may send to the line side.
    Throttle,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Nodes => "listProcessNode",
            Operation::SecurityMode
            | Operation::Fingerprint
            | Operation::NodesFingerprint
            | Operation::Regions
            | Operation::Throttle => "executeSQLQuery",
            Operation::LinePorts => "listCallManager",
            Operation::Version => "getCCMVersion",
            Operation::Profiles => "listPhoneSecurityProfile",
            Operation::PhoneTime => "listPhoneNtp",
        }
    }

    /// The body that asks it.
    pub fn body(self, schema: Schema) -> String {
        match self {
            Operation::Nodes => list_process_node(schema),
            Operation::SecurityMode => envelope(
                self,
                schema,
                "<sql>select paramvalue from processconfig where \
                 paramname='ClusterSecurityMode'</sql>",
            ),
            Operation::LinePorts => envelope(
                self,
                schema,
                "<searchCriteria><name>%</name></searchCriteria><returnedTags><name/>\
                 <processNodeName/><ports><sipPorts><sipPhonePort/><sipPhoneSecurePort/>\
                 </sipPorts></ports></returnedTags>",
            ),
            other => envelope(other, schema, &settings::question(other)),
        }
    }
}

/// Header fields of a request.
pub fn headers(operation: Operation, schema: Schema) -> Vec<(&'static str, String)> {
    vec![
        ("Content-Type", "text/xml; charset=utf-8".into()),
        (
            "SOAPAction",
            format!("\"CUCM:DB ver={} {}\"", schema.version(), operation.name()),
        ),
    ]
}

fn envelope(operation: Operation, schema: Schema, inside: &str) -> String {
    let (name, version) = (operation.name(), schema.version());
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:ns=\"http://www.cisco.com/AXL/API/{version}\"><soapenv:Header/><soapenv:Body>\
         <ns:{name}>{inside}</ns:{name}></soapenv:Body></soapenv:Envelope>"
    )
}

/// The body that asks for all nodes.
pub fn list_process_node(schema: Schema) -> String {
    let any = escape("%");
    let role = match schema {
        Schema::V10_0 => "<processNodeRole/>",
        Schema::V9_1 => "",
    };
    let inside = format!(
        "<searchCriteria><name>{any}</name></searchCriteria>\
         <returnedTags><name/><description/><nodeUsage/>{role}</returnedTags>"
    );
    envelope(Operation::Nodes, schema, &inside)
}

/// Reads the answer.
///
/// # Errors
/// [`AxlError`].
pub fn process_nodes(status: u16, body: &str) -> Result<Vec<Node>, AxlError> {
    read(status, body, process_nodes_in)
}

/// What is read from an answer that is no failure.
fn read<T>(
    status: u16,
    body: &str,
    inside: impl FnOnce(u16, &Document<'_>) -> Result<T, AxlError>,
) -> Result<T, AxlError> {
    match status {
        401 => return Err(AxlError::Credentials),
        403 => return Err(AxlError::Role),
        404 | 503 => return Err(AxlError::Inactive(status)),
        599 => return Err(AxlError::Version),
        _ => {}
    }
    if body.len() > BYTES_MAX {
        return Err(AxlError::Malformed(format!("{} bytes", body.len())));
    }
    if is_page(body) {
        return Err(AxlError::Page(status));
    }
    BOUNDS
        .check(body)
        .map_err(|cause| AxlError::Malformed(cause.to_owned()))?;
    let document = Document::parse(body).map_err(|e| AxlError::Malformed(e.to_string()))?;
    // Prefixes differ from release to release; local names do not.
    let fault = document
        .descendants()
        .find(|n| n.tag_name().name() == "faultstring");
    match fault {
        Some(fault) => Err(AxlError::Fault(words(fault.text().unwrap_or_default()))),
        None => inside(status, &document),
    }
}

/// Whether a body is for a browser.
fn is_page(body: &str) -> bool {
    let head = body.trim_start().get(..14).unwrap_or_default();
    let head = head.to_ascii_lowercase();
    head.starts_with("<html>") || head.starts_with("<html ") || head == "<!doctype html"
}

/// Reads whether the cluster is in mixed mode; one that knows no such setting is not.
///
/// # Errors
/// [`AxlError`].
pub fn is_mixed(status: u16, body: &str) -> Result<bool, AxlError> {
    read(status, body, |_, document| {
        let value = document
            .descendants()
            .find(|n| n.tag_name().name() == "paramvalue");
        Ok(value.and_then(|v| v.text()).map(str::trim) == Some("1"))
    })
}

/// Where the phones of a node register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePorts {
    /// The node's name.
    pub node: String,
    /// Without encryption.
    pub tcp: u16,
    /// With secure profiles.
    pub tls: u16,
}

/// Reads where phones register; a port that is not told is the usual one.
///
/// # Errors
/// [`AxlError`].
pub fn line_ports(status: u16, body: &str) -> Result<Vec<LinePorts>, AxlError> {
    read(status, body, |_, document| {
        let rows = document
            .descendants()
            .filter(|n| n.tag_name().name() == "callManager");
        let row = |n: roxmltree::Node<'_, '_>| {
            let text = |name: &str| {
                let found = n.descendants().find(|c| c.tag_name().name() == name)?;
                found.text().map(str::trim).filter(|t| !t.is_empty())
            };
            let port = |tag: &str, usual: u16| {
                let told = text(tag).and_then(|t| t.parse().ok());
                told.filter(|port| *port != 0).unwrap_or(usual)
            };
            Some(LinePorts {
                node: name(text("processNodeName")?)?.to_owned(),
                tcp: port("sipPhonePort", TCP_PORT),
                tls: port("sipPhoneSecurePort", TLS_PORT),
            })
        };
        Ok(rows.filter_map(row).collect())
    })
}

fn process_nodes_in(status: u16, document: &Document<'_>) -> Result<Vec<Node>, AxlError> {
    let find = |name: &str| document.descendants().find(|n| n.tag_name().name() == name);
    if find("listProcessNodeResponse").is_none() {
        let root = words(document.root_element().tag_name().name());
        return Err(AxlError::Malformed(format!("status {status}, <{root}>")));
    }
    let nodes = document
        .descendants()
        .filter(|n| n.tag_name().name() == "processNode");
    let nodes = nodes.filter_map(|n| {
        let text = |name: &str| {
            n.children()
                .find(|c| c.tag_name().name() == name)?
                .text()
                .map(str::trim)
        };
        let name = self::name(text("name")?)?.to_owned();
        // A row of the database that is no machine.
        if name == "EnterpriseWideData" {
            return None;
        }
        let duty = match text("processNodeRole") {
            Some("CUCM IM and Presence") => Some(Duty::ImPresence),
            Some(_) => Some(Duty::VoiceVideo),
            None => None,
        };
        let id = n.attribute("uuid").and_then(self::name);
        let id = id.unwrap_or_default().to_owned();
        Some(Node { name, id, duty })
    });
    Ok(nodes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_dear_to_read_is_refused_whoever_asked() {
        let nested: String = (0..60).map(|i| format!("<a xmlns:p{i}='u'>")).collect();
        let attributes: String = (0..65).map(|i| format!(" a{i}=''")).collect();
        for (bad, cause) in [
            (nested, "too many namespaces"),
            (format!("<a{attributes}/>"), "too many attributes"),
            ("<a>".repeat(100_000), "nested too deeply"),
        ] {
            let found = process_nodes(200, &bad).unwrap_err().to_string();
            assert!(found.contains(cause), "{found}");
            let found = crate::voicemail::version(200, &bad).unwrap_err();
            assert!(found.to_string().contains(cause), "{found}");
            let found = crate::uds::cluster_user(&bad).unwrap_err();
            assert!(found.found.contains(cause), "{found}");
        }
    }

    #[test]
    fn nodes_are_read_whatever_the_prefix_and_the_pseudo_node_dropped() {
        for prefix in ["ns", "axlapi"] {
            let body = format!(
                "<s:Envelope xmlns:s=\"e\" xmlns:{prefix}=\"a\"><s:Body>\
                 <{prefix}:listProcessNodeResponse><return>\
                 <processNode uuid=\"1\"><name>EnterpriseWideData</name></processNode>\
                 <processNode><name>cucm1.example.com</name></processNode>\
                 <processNode><name>imp1</name><processNodeRole>CUCM IM and Presence\
                 </processNodeRole></processNode></return></{prefix}:listProcessNodeResponse>\
                 </s:Body></s:Envelope>"
            );
            let nodes = process_nodes(200, &body).unwrap();
            assert_eq!(nodes.len(), 2);
            assert_eq!(
                nodes[0],
                Node {
                    name: "cucm1.example.com".into(),
                    id: String::new(),
                    duty: None
                }
            );
            assert_eq!(nodes[1].duty, Some(Duty::ImPresence));
        }
    }

    #[test]
    fn role_is_asked_for_where_the_schema_has_it() {
        for (schema, version, asked) in
            [(Schema::V10_0, "10.0", true), (Schema::V9_1, "9.1", false)]
        {
            let body = list_process_node(schema);
            assert!(body.contains(&format!("AXL/API/{version}\"")));
            assert_eq!(body.contains("<processNodeRole/>"), asked);
        }
    }

    #[test]
    fn mixed_mode_and_line_ports_are_read_and_usual_where_nothing_is_told() {
        let row = |value: &str| format!("<a><row><paramvalue>{value}</paramvalue></row></a>");
        assert_eq!(is_mixed(200, &row("1")), Ok(true));
        assert_eq!(is_mixed(200, &row("0")), Ok(false));
        assert_eq!(is_mixed(200, "<a><return/></a>"), Ok(false));
        assert_eq!(is_mixed(403, ""), Err(AxlError::Role));
        let body = "<a><x:callManager xmlns:x=\"y\"><processNodeName> cucm1 </processNodeName>\
            <ports><sipPorts><sipPhonePort>5070</sipPhonePort><sipPhoneSecurePort/></sipPorts>\
            </ports></x:callManager><callManager><name>nameless</name></callManager>\
            <callManager><processNodeName>cucm2</processNodeName></callManager></a>";
        let ports = |node: &str, tcp, tls| LinePorts {
            node: node.into(),
            tcp,
            tls,
        };
        assert_eq!(
            line_ports(200, body),
            Ok(vec![ports("cucm1", 5070, 5061), ports("cucm2", 5060, 5061)])
        );
        for operation in [Operation::SecurityMode, Operation::LinePorts] {
            let body = operation.body(Schema::V9_1);
            assert!(Document::parse(&body).is_ok(), "{body}");
            assert!(body.contains("API/9.1") && body.contains(operation.name()));
            assert!(
                headers(operation, Schema::V9_1)[1]
                    .1
                    .contains(operation.name())
            );
        }
    }

    #[test]
    fn names_that_are_too_long_or_hold_a_newline_are_none_and_a_fault_is_one_short_line() {
        let long = "n".repeat(256);
        let row = |name: &str, id: &str| {
            format!("<processNode uuid=\"{id}\"><name>{name}</name></processNode>")
        };
        let all = row(&long, "1") + &row("a&#10;ERROR forged", "2") + &row("ucm1", &long);
        let body = format!("<listProcessNodeResponse>{all}</listProcessNodeResponse>");
        let nodes = process_nodes(200, &body).unwrap();
        let known: Vec<_> = nodes.iter().map(|n| (&*n.name, &*n.id)).collect();
        assert_eq!(known, [("ucm1", "")]);
        let port = |node: &str| {
            format!("<callManager><processNodeName>{node}</processNodeName></callManager>")
        };
        let body = format!("<a>{}{}</a>", port(&long), port("ucm1"));
        assert_eq!(line_ports(200, &body).unwrap().len(), 1);
        let body = format!(
            "<a><faultstring>x\ny{}</faultstring></a>",
            "z".repeat(9_999)
        );
        let Err(AxlError::Fault(fault)) = process_nodes(500, &body) else {
            panic!("a fault");
        };
        assert!(fault.starts_with("x·y") && fault.len() <= WORDS_MAX);
        let body = format!("<{}/>", "t".repeat(9_999));
        let other = process_nodes(200, &body).unwrap_err().to_string();
        assert!(other.len() < 300, "{} bytes", other.len());
    }

    #[test]
    fn each_failure_has_its_words() {
        assert_eq!(process_nodes(401, ""), Err(AxlError::Credentials));
        assert_eq!(process_nodes(403, ""), Err(AxlError::Role));
        assert_eq!(process_nodes(503, ""), Err(AxlError::Inactive(503)));
        assert_eq!(process_nodes(599, ""), Err(AxlError::Version));
        let fault = "<e><faultstring>Item not valid</faultstring></e>";
        assert_eq!(
            process_nodes(500, fault),
            Err(AxlError::Fault("Item not valid".into()))
        );
        assert!(matches!(
            process_nodes(200, "<html/>"),
            Err(AxlError::Malformed(_))
        ));
        for page in [
            "<!DOCTYPE html><html><body>hi</body></html>",
            " <HTML><body/></HTML>",
        ] {
            assert_eq!(process_nodes(200, page), Err(AxlError::Page(200)));
        }
        assert!(AxlError::Inactive(503).to_string().contains("throttles"));
        assert!(AxlError::Role.fix().contains("Standard AXL API Access"));
    }
}
