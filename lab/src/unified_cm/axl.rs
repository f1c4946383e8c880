//! AXL, the administrators' SOAP: which nodes there are, the version, a few settings.

use crate::accounts::Accounts;
use crate::changes::{Change, PROFILE, RENAMED, SECOND};
use crate::command::Mistake;
use crate::soap::{Call, SOAP_1_1, axl_fault, child, envelope};
use crate::web::{Answer, Request, escaped};
use crate::world::{Host, SECURITY_PROFILE, World};

use super::REALM;

const API: &str = "http://www.cisco.com/AXL/API/";
/// The schemas spoken, as a 12.5 server does.
const SCHEMAS: [&str; 6] = ["9.1", "10.0", "10.5", "11.5", "12.0", "12.5"];
const RELEASE: &str = "12.5.1.11900-146";
/// AXL's code for an operation that its schema does not know.
const UNKNOWN_OPERATION: i32 = 5003;

/// The answer of a node, of Unified CM or of IM and presence, to a request to `/axl/`. The first
/// cluster is the one that changes.
pub fn answer(node: &str, accounts: &Accounts, request: &Request) -> Answer {
    let cluster = Cluster::of(node, &accounts.world);
    let has = |change| cluster.has(change);
    if has(Change::AxlOff) {
        let page = "<!DOCTYPE html><html><body>HTTP Status 404</body></html>";
        return Answer::new(404, "text/html;charset=utf-8", page.to_owned());
    }
    if has(Change::AxlBusy) {
        return Answer::empty(503);
    }
    let Some((name, password)) = request.basic() else {
        return Answer::unauthorized(REALM);
    };
    if has(Change::AccountLocked) {
        return Answer::unauthorized(REALM);
    }
    let lacks_role =
        accounts.world.mistakes.contains(&Mistake::NoAxlRole) || has(Change::RoleMissing);
    if accounts.is_administrator(&name, &password) && lacks_role {
        return Answer::empty(403);
    }
    if !accounts.is_administrator(&name, &password) {
        // A user's own login is right, yet lacks the role Standard AXL API Access.
        return match accounts.check(&name, &password) {
            Some(_) => Answer::empty(403),
            None => Answer::unauthorized(REALM),
        };
    }
    if request.method != http::Method::POST {
        return Answer::empty(405);
    }
    let Some(call) = Call::read(&request.body) else {
        return axl_fault(-1, "The request is no SOAP 1.1 envelope.", "");
    };
    let (operation, namespace) = (call.operation.name().to_owned(), call.operation.ns());
    let schema = namespace.strip_prefix(API).unwrap_or_default();
    if !SCHEMAS.contains(&schema) {
        let text = format!(
            "The specified AXL version {} is not supported",
            escaped(schema)
        );
        return Answer::new(599, "text/html;charset=utf-8", text);
    }
    let inside = match operation.as_str() {
        "listProcessNode" => nodes(&cluster, &call, schema),
        "getCCMVersion" => {
            format!("<componentVersion><version>{RELEASE}</version></componentVersion>")
        }
        "listCallManager" => call_managers(&cluster),
        "listPhoneSecurityProfile" => profiles(&cluster),
        "listPhoneNtp" => "<phoneNtp><ipAddress>198.51.100.123</ipAddress></phoneNtp>".into(),
        "listSipTrunkSecurityProfile" => trunks(&accounts.world),
        "executeSQLQuery" => match query(&cluster, &call.argument("sql").unwrap_or_default()) {
            Some(rows) => rows,
            None => return axl_fault(-201, "A syntax error has occurred.", &operation),
        },
        _ => {
            let text = format!("Unknown operation {operation} in the schema {schema}");
            return axl_fault(UNKNOWN_OPERATION, &text, &operation);
        }
    };
    let inner = format!(
        "<ns:{operation}Response xmlns:ns=\"{namespace}\"><return>{inside}</return>\
         </ns:{operation}Response>"
    );
    Answer::new(200, "text/xml;charset=UTF-8", envelope(SOAP_1_1, &inner))
}

/// A cluster as its database knows it.
struct Cluster<'a> {
    world: &'a World,
    unified_cm: &'a [Host],
    im_presence: &'a [Host],
    /// Whether it is the one that changes.
    changes: bool,
}

impl Cluster<'_> {
    fn of<'a>(node: &str, world: &'a World) -> Cluster<'a> {
        let unified_cm = world.cluster_of(node);
        let changes = world.other_cluster.iter().all(|n| n.fqdn != node);
        let im_presence = if changes {
            world.im_presence.as_slice()
        } else {
            &[]
        };
        Cluster {
            world,
            unified_cm,
            im_presence,
            changes,
        }
    }

    fn has(&self, change: Change) -> bool {
        self.changes && self.world.changes.has(change)
    }
}

/// The nodes whose name matches, with the tags asked for, as the database has them: with its
/// pseudo-node in front. The role came with schema 10.0.
fn nodes(cluster: &Cluster<'_>, call: &Call, schema: &str) -> String {
    let pattern = child(&call.operation, "searchCriteria")
        .and_then(|c| child(c, "name"))
        .map_or_else(|| "%".to_owned(), |n| n.text().trim().to_lowercase());
    let asked = child(&call.operation, "returnedTags");
    let wants = |tag: &str| {
        let known = tag != "processNodeRole" || schema != SCHEMAS[0];
        known && asked.is_none_or(|tags| child(tags, tag).is_some())
    };
    let voice = "CUCM Voice/Video";
    let mut rows = vec![("EnterpriseWideData".to_owned(), "Publisher", voice)];
    let second = second(cluster);
    // A node without a line side is none that a gateway could send calls to.
    let unified_cm = if cluster.world.line_side {
        cluster.unified_cm
    } else {
        &[]
    };
    for (nodes, role) in [
        (unified_cm, voice),
        (cluster.im_presence, "CUCM IM and Presence"),
    ] {
        for (n, node) in nodes.iter().enumerate() {
            let usage = if n == 0 { "Publisher" } else { "Subscriber" };
            rows.push((node.fqdn.clone(), usage, role));
        }
    }
    // Last, so that no other node's key changes with it.
    rows.extend(second.map(|(name, _)| (name.to_owned(), "Subscriber", voice)));
    let mut out = String::new();
    for (n, (name, usage, role)) in rows.iter().enumerate() {
        if !like(&name.to_lowercase(), &pattern) {
            continue;
        }
        out.push_str(&format!(
            "<processNode uuid=\"{{00000000-0000-0000-0000-{n:012X}}}\">"
        ));
        for (tag, value) in [
            ("name", name.as_str()),
            ("description", ""),
            ("mac", ""),
            ("ipv6Name", ""),
            ("nodeUsage", usage),
            ("processNodeRole", role),
        ] {
            if wants(tag) {
                out.push_str(&format!("<{tag}>{}</{tag}>", escaped(value)));
            }
        }
        out.push_str("</processNode>");
    }
    out
}

/// SQL's `LIKE` with `%` alone.
fn like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('%');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The node that has joined, if one has, and the port of its phones.
fn second(cluster: &Cluster<'_>) -> Option<(&'static str, u16)> {
    let has = |change| cluster.has(change);
    let name = if has(Change::NodeRenamed) {
        RENAMED
    } else {
        SECOND
    };
    let port = if has(Change::PortChanged) { 5062 } else { 5060 };
    has(Change::NodeAdded).then_some((name, port))
}

fn is_mixed(cluster: &Cluster<'_>) -> bool {
    // The other cluster always is.
    let begins = cluster.world.mixed_mode || !cluster.changes;
    begins != cluster.has(Change::MixedModeToggled)
}

fn call_managers(cluster: &Cluster<'_>) -> String {
    let one = |node: &str, port: u16| {
        format!(
            "<callManager><name>CM_{node}</name><processNodeName>{node}</processNodeName><ports>\
             <ethernetPhonePort>2000</ethernetPhonePort><sipPorts><sipPhonePort>{port}\
             </sipPhonePort><sipPhoneSecurePort>5061</sipPhoneSecurePort><sipOAuthPort>5090\
             </sipOAuthPort><sipOAuthMRAPort>5091</sipOAuthMRAPort></sipPorts></ports>\
             </callManager>"
        )
    };
    let first = cluster.unified_cm.iter().map(|n| one(&n.fqdn, 5060));
    let second = second(cluster).map(|(name, port)| one(name, port));
    first.chain(second).collect()
}

/// The security profiles of telephones: the encrypted one only means something in mixed mode.
fn profiles(cluster: &Cluster<'_>) -> String {
    let one = |name: &str, mode: &str, transport: &str| {
        format!(
            "<phoneSecurityProfile><name>{name}</name><description/><phoneType>Cisco Unified \
             Client Services Framework</phoneType><protocol>SIP</protocol><deviceSecurityMode>\
             {mode}</deviceSecurityMode><transportType>{transport}</transportType>\
             <sipPhonePort>5060</sipPhonePort></phoneSecurityProfile>"
        )
    };
    let open = one(
        "Cisco Unified Client Services Framework - Standard",
        "Non Secure",
        "TCP",
    );
    let secure = secure_profiles(cluster).into_iter();
    open + &secure
        .map(|name| one(name, "Encrypted", "TLS"))
        .collect::<String>()
}

fn secure_profiles(cluster: &Cluster<'_>) -> Vec<&'static str> {
    let own = is_mixed(cluster).then_some(SECURITY_PROFILE);
    let added = cluster.has(Change::ProfileAdded).then_some(PROFILE);
    own.into_iter().chain(added).collect()
}

/// Whatever of the cluster a gateway looks at, a row each.
fn fingerprint(cluster: &Cluster<'_>, whole: bool) -> String {
    let row = |value: &str| format!("<row><v>{value}</v></row>");
    let nodes = cluster.unified_cm.iter().chain(cluster.im_presence);
    let mut rows: String = nodes.map(|n| row(&n.fqdn)).collect();
    rows.extend(second(cluster).map(|(name, _)| row(name)));
    if whole {
        rows.push_str(&row(if is_mixed(cluster) { "1" } else { "0" }));
        rows.extend(secure_profiles(cluster).into_iter().map(row));
    }
    rows
}

/// Regions that leave video little.
fn regions(cluster: &Cluster<'_>) -> String {
    let from_the_start = cluster.world.mistakes.contains(&Mistake::RegionLimit);
    match from_the_start || cluster.has(Change::RegionLimited) {
        true => "<row><regiona>Default</regiona><regionb>Default</regionb><videobandwidth>384\
                 </videobandwidth></row>"
            .into(),
        false => String::new(),
    }
}

/// The security profiles of SIP trunks, with the port that each listens on.
fn trunks(world: &World) -> String {
    let conflict = world.mistakes.contains(&Mistake::TrunkOnLinePort);
    let port = if conflict { 5060 } else { 5560 };
    format!(
        "<sipTrunkSecurityProfile><name>Trunk to the gateway</name><description/>\
         <securityMode>Non Secure</securityMode><incomingTransport>TCP+UDP</incomingTransport>\
         <outgoingTransport>TCP</outgoingTransport><incomingPort>{port}</incomingPort>\
         </sipTrunkSecurityProfile>"
    )
}

/// The few settings that a gateway asks for by SQL.
fn query(cluster: &Cluster<'_>, sql: &str) -> Option<String> {
    let sql = sql.to_lowercase();
    if !sql.trim_start().starts_with("select ") {
        return None;
    }
    let value = |value: u8| format!("<row><paramvalue>{value}</paramvalue></row>");
    Some(if sql.contains("from processnode") {
        fingerprint(cluster, sql.contains("from securityprofile"))
    } else if sql.contains("from regionmatrix") {
        regions(cluster)
    } else if sql.contains("%throttle%") {
        "<row><paramname>SIPStationTCPPortThrottleThreshold</paramname><paramvalue>750\
         </paramvalue></row>"
            .into()
    } else if sql.contains("clustersecuritymode") {
        value(is_mixed(cluster).into())
    } else if sql.contains("clustersipoauthmode") {
        value(0)
    } else {
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn pattern_matches_as_sql_does() {
        for (text, pattern, want) in [
            ("cucm1.example.test", "%", true),
            ("cucm1.example.test", "cucm%", true),
            ("cucm1.example.test", "%example%", true),
            ("cucm1.example.test", "%.test", true),
            ("cucm1.example.test", "imp%", false),
            ("cucm1.example.test", "cucm1", false),
            ("cucm1", "cucm1", true),
        ] {
            assert_eq!(like(text, pattern), want, "{text} like {pattern}");
        }
    }
}
