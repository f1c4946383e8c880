//! What a Unity Connection is, by its REST interface (CUPI): its version, and the servers of its
//! cluster. In: status and body. Out: names, or why there are none. Bounds: [`NODES_MAX`].

use roxmltree::Document;

use crate::axl::{self, BOUNDS, BYTES_MAX, words};

/// Where the version is read.
pub const VERSION_PATH: &str = "/vmrest/version";

/// Where the servers of the cluster are read.
pub const NODES_PATH: &str = "/vmrest/cluster";

/// Servers read at most.
pub const NODES_MAX: usize = 8;

/// Why a voicemail server tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoicemailError {
    /// 401.
    #[error("the user name or password was refused (401)")]
    Credentials,
    /// 403.
    #[error("the account lacks the role System Administrator (403)")]
    Role,
    /// Another status.
    #[error("its REST interface is not there (status {0})")]
    Absent(u16),
    /// Another product.
    #[error("it is not a Unity Connection server: {0}")]
    Foreign(String),
}

impl VoicemailError {
    /// What an administrator can do.
    pub fn fix(&self) -> &'static str {
        match self {
            VoicemailError::Credentials => "set user and password of the unity_connection block",
            VoicemailError::Role => {
                "give the account the role System Administrator, or another that may use the \
                 provisioning interface"
            }
            VoicemailError::Absent(_) | VoicemailError::Foreign(_) => {
                "set address and port of the unity_connection block to a Unity Connection server"
            }
        }
    }
}

fn document(status: u16, body: &str) -> Result<Document<'_>, VoicemailError> {
    match status {
        200 => {}
        401 => return Err(VoicemailError::Credentials),
        403 => return Err(VoicemailError::Role),
        other => return Err(VoicemailError::Absent(other)),
    }
    if body.len() > BYTES_MAX {
        return Err(VoicemailError::Foreign(format!("{} bytes", body.len())));
    }
    BOUNDS
        .check(body)
        .map_err(|cause| VoicemailError::Foreign(cause.to_owned()))?;
    Document::parse(body).map_err(|e| VoicemailError::Foreign(e.to_string()))
}

/// Reads the version.
///
/// # Errors
/// [`VoicemailError`].
pub fn version(status: u16, body: &str) -> Result<String, VoicemailError> {
    let document = document(status, body)?;
    let text = |name: &str| {
        let found = document.descendants().find(|n| n.has_tag_name(name))?;
        Some(words(found.text().unwrap_or_default()))
    };
    let root = document.root_element().tag_name().name();
    match text("version") {
        Some(version) if root == "VersionInformation" => Ok(version),
        _ => {
            let root = words(root);
            Err(VoicemailError::Foreign(format!("its answer is <{root}>")))
        }
    }
}

/// Reads the names of the cluster's servers: their host names, or what they are called.
///
/// # Errors
/// [`VoicemailError`].
pub fn nodes(status: u16, body: &str) -> Result<Vec<String>, VoicemailError> {
    let document = document(status, body)?;
    let rows = document
        .descendants()
        .filter(|n| matches!(n.tag_name().name(), "VmsServer" | "Server"));
    let name = |n: roxmltree::Node<'_, '_>| {
        let text = |name: &str| {
            let found = n.children().find(|c| c.tag_name().name() == name)?;
            axl::name(found.text().unwrap_or_default()).map(str::to_owned)
        };
        text("HostName").or_else(|| text("ServerName"))
    };
    let mut found: Vec<String> = Vec::new();
    for name in rows.filter_map(name) {
        if found.len() < NODES_MAX && !found.iter().any(|f| f.eq_ignore_ascii_case(&name)) {
            found.push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voicemail_cluster_is_read_and_what_is_none_is_named() {
        let body = "<VersionInformation><name>Cisco Unity Connection</name><version>12.5</version>\
                    </VersionInformation>";
        assert_eq!(version(200, body).unwrap(), "12.5");
        let body = "<VmsServers total=\"3\"><VmsServer><ServerName>a</ServerName><HostName> \
                    cuc1.example.test </HostName></VmsServer><VmsServer><ServerName>cuc2\
                    </ServerName></VmsServer><VmsServer><HostName>CUC2</HostName></VmsServer>\
                    </VmsServers>";
        assert_eq!(nodes(200, body).unwrap(), ["cuc1.example.test", "cuc2"]);
        assert_eq!(version(401, ""), Err(VoicemailError::Credentials));
        assert_eq!(nodes(403, ""), Err(VoicemailError::Role));
        assert_eq!(version(404, ""), Err(VoicemailError::Absent(404)));
        let other = version(
            200,
            "<versionInformation><version>1</version></versionInformation>",
        );
        assert!(
            other
                .unwrap_err()
                .to_string()
                .contains("not a Unity Connection")
        );
        let body = format!(
            "<a><Server><ServerName>{}</ServerName></Server><Server><ServerName>a&#10;b\
             </ServerName></Server></a>",
            "n".repeat(256)
        );
        assert_eq!(nodes(200, &body), Ok(Vec::new()));
        let body = format!(
            "<VersionInformation><version>{}</version></VersionInformation>",
            "9".repeat(999)
        );
        assert!(version(200, &body).unwrap().len() <= axl::WORDS_MAX);
        assert!(matches!(nodes(200, "no"), Err(VoicemailError::Foreign(_))));
    }
}
