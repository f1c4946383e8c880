//! Which nodes a cluster has: AXL's `listProcessNode` (`protocol.md` §4.1).

use roxmltree::Document;

use crate::edge_config::escape;

/// The largest answer read, in bytes.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Call control.
    VoiceVideo,
    /// IM and presence.
    ImPresence,
}

/// A node as the publisher names it; the name is used as it is for DNS and certificates (F138).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name or address.
    pub name: String,
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
    /// 404 or 503.
    #[error("the Cisco AXL Web Service is not active ({0})")]
    Inactive(u16),
    /// 599.
    #[error("the server does not speak this version of AXL (599)")]
    Version,
    /// A SOAP fault.
    #[error("the server answered with a fault: {0}")]
    Fault(String),
    /// Anything else.
    #[error("the answer is no AXL: {0}")]
    Malformed(String),
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

/// The path requests are posted to.
pub const PATH: &str = "/axl/";

/// Header fields of a request.
pub fn headers(schema: Schema) -> Vec<(&'static str, String)> {
    vec![
        ("Content-Type", "text/xml; charset=utf-8".into()),
        (
            "SOAPAction",
            format!("\"CUCM:DB ver={} listProcessNode\"", schema.version()),
        ),
    ]
}

/// The body that asks for all nodes.
pub fn list_process_node(schema: Schema) -> String {
    let (any, version) = (escape("%"), schema.version());
    let role = match schema {
        Schema::V10_0 => "<processNodeRole/>",
        Schema::V9_1 => "",
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:ns=\"http://www.cisco.com/AXL/API/{version}\"><soapenv:Header/><soapenv:Body>\
         <ns:listProcessNode><searchCriteria><name>{any}</name></searchCriteria>\
         <returnedTags><name/><description/><nodeUsage/>{role}</returnedTags>\
         </ns:listProcessNode></soapenv:Body></soapenv:Envelope>"
    )
}

/// Reads the answer.
///
/// # Errors
/// [`AxlError`].
pub fn process_nodes(status: u16, body: &str) -> Result<Vec<Node>, AxlError> {
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
    let document = Document::parse(body).map_err(|e| AxlError::Malformed(e.to_string()))?;
    // Prefixes differ from release to release; local names do not.
    let find = |name: &str| document.descendants().find(|n| n.tag_name().name() == name);
    if let Some(fault) = find("faultstring") {
        return Err(AxlError::Fault(
            fault.text().unwrap_or_default().trim().to_owned(),
        ));
    }
    if find("listProcessNodeResponse").is_none() {
        let root = document.root_element().tag_name().name().to_owned();
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
        let name = text("name").filter(|t| !t.is_empty())?.to_owned();
        // A row of the database that is no machine.
        if name == "EnterpriseWideData" {
            return None;
        }
        let duty = match text("processNodeRole") {
            Some("CUCM IM and Presence") => Some(Duty::ImPresence),
            Some(_) => Some(Duty::VoiceVideo),
            None => None,
        };
        Some(Node { name, duty })
    });
    Ok(nodes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
