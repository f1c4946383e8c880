//! What is read of a cluster beside its nodes and ports: version, phone security profiles, a
//! fingerprint that changes when any of it does, and settings that trouble remote clients.
//!
//! Tables and columns are those of Unified CM's published data dictionary. A server that does not
//! know a query answers with a fault; the caller goes without then.

use roxmltree::Document;

use super::{AxlError, Operation, name, read, words};

/// Profiles read at most.
pub const PROFILES_MAX: usize = 500;

/// Rows of settings read at most.
pub const ROWS_MAX: usize = 20;

/// Video calls within and between regions are to have this, in kbit/s (F072).
pub const VIDEO_KBPS: u32 = 6000;

/// Names of nodes, and whatever of them is a row.
const NODES: &str = "select name as v from processnode";

/// What is asked, without its envelope.
pub(super) fn question(operation: Operation) -> String {
    let all = "<searchCriteria><name>%</name></searchCriteria>";
    match operation {
        Operation::Profiles => format!(
            "{all}<returnedTags><name/><deviceSecurityMode/><transportType/></returnedTags>"
        ),
        Operation::PhoneTime => "<searchCriteria><ipAddress>%</ipAddress></searchCriteria>\
                                 <returnedTags><ipAddress/></returnedTags>"
            .into(),
        Operation::NodesFingerprint => format!("<sql>{NODES}</sql>"),
        Operation::Fingerprint => format!(
            "<sql>{NODES} union all select paramvalue as v from processconfig where \
             paramname='ClusterSecurityMode' union all select p.name as v from securityprofile \
             as p inner join typedevicesecuritymode as m on m.enum=p.tkdevicesecuritymode where \
             m.name='Encrypted'</sql>"
        ),
        Operation::Regions => format!(
            "<sql>select first {ROWS_MAX} a.name as regiona, b.name as regionb, m.videobandwidth \
             as videobandwidth from regionmatrix as m left join region as a on \
             m.fkregion_a=a.pkid left join region as b on m.fkregion_b=b.pkid where \
             m.videobandwidth &gt; 0 and m.videobandwidth &lt; {VIDEO_KBPS}</sql>"
        ),
        Operation::Throttle => "<sql>select paramname, paramvalue from processconfig where \
                                paramname like '%Throttle%'</sql>"
            .into(),
        _ => String::new(),
    }
}

/// Reads the product's version (`getCCMVersion`); empty if none is told.
///
/// # Errors
/// [`AxlError`].
pub fn version(status: u16, body: &str) -> Result<String, AxlError> {
    read(status, body, |_, document| {
        let found = document.descendants().find(|n| n.has_tag_name("version"));
        Ok(words(found.map(text).unwrap_or_default()))
    })
}

/// Reads the names of phone security profiles that are encrypted and over TLS, in order: a device
/// of such a profile looks for its name in the core's certificate (F073).
///
/// # Errors
/// [`AxlError`].
pub fn secure_profiles(status: u16, body: &str) -> Result<Vec<String>, AxlError> {
    read(status, body, |status, document| {
        answered(status, document, "listPhoneSecurityProfileResponse")?;
        let rows = document.descendants().filter(|n| {
            let is = |name: &str, want: &str| child(*n, name).eq_ignore_ascii_case(want);
            n.tag_name().name() == "phoneSecurityProfile"
                && is("deviceSecurityMode", "Encrypted")
                && is("transportType", "TLS")
        });
        let names = rows.filter_map(|n| Some(name(child(n, "name"))?.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(PROFILES_MAX);
        Ok(names)
    })
}

/// A number that changes when a row of the answer does, in whatever order they come; `None` if
/// there is no row, as from a server that does not know the question.
///
/// # Errors
/// [`AxlError`].
pub fn fingerprint(status: u16, body: &str) -> Result<Option<u64>, AxlError> {
    read(status, body, |_, document| {
        let rows = document.descendants().filter(|n| n.has_tag_name("row"));
        let mut rows: Vec<String> = rows
            .map(|row| {
                let cells = row.children().filter(|c| c.is_element()).map(text);
                cells.collect::<Vec<_>>().join("\u{1f}")
            })
            .collect();
        rows.sort_unstable();
        // FNV-1a: what is compared is our own question's answer, no adversary's choice of hash.
        let bytes = rows.iter().flat_map(|r| r.bytes().chain([0x1e]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok((!rows.is_empty()).then_some(hash))
    })
}

/// Two regions between which video gets little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The one.
    pub from: String,
    /// The other, or the same.
    pub to: String,
    /// What a video call may have, in kbit/s.
    pub kbps: u32,
}

/// Reads regions with less than [`VIDEO_KBPS`] for video, at most [`ROWS_MAX`] (F072, F341).
///
/// # Errors
/// [`AxlError`].
pub fn slow_regions(status: u16, body: &str) -> Result<Vec<Region>, AxlError> {
    read(status, body, |status, document| {
        answered(status, document, "executeSQLQueryResponse")?;
        let rows = document.descendants().filter(|n| n.has_tag_name("row"));
        let row = |n: roxmltree::Node<'_, '_>| {
            let kbps = child(n, "videobandwidth").parse().ok()?;
            Some(Region {
                from: name(child(n, "regiona")).unwrap_or_default().to_owned(),
                to: name(child(n, "regionb")).unwrap_or_default().to_owned(),
                kbps,
            })
        };
        let slow = rows
            .filter_map(row)
            .filter(|r| (1..VIDEO_KBPS).contains(&r.kbps));
        Ok(slow.take(ROWS_MAX).collect())
    })
}

/// Reads the addresses that phones take their time from (F076).
///
/// # Errors
/// [`AxlError`].
pub fn phone_time(status: u16, body: &str) -> Result<Vec<String>, AxlError> {
    read(status, body, |status, document| {
        answered(status, document, "listPhoneNtpResponse")?;
        let rows = document
            .descendants()
            .filter(|n| n.has_tag_name("ipAddress"));
        let all = rows.filter_map(|n| Some(name(text(n))?.to_owned()));
        Ok(all.take(ROWS_MAX).collect())
    })
}

/// Reads what one host may send to the line side, in KB/s (F082); `None` where no such parameter
/// is told.
///
/// # Errors
/// [`AxlError`].
pub fn line_throttle(status: u16, body: &str) -> Result<Option<u32>, AxlError> {
    read(status, body, |status, document| {
        answered(status, document, "executeSQLQueryResponse")?;
        let mut rows = document.descendants().filter(|n| n.has_tag_name("row"));
        let found = rows.find(|n| {
            let name = child(*n, "paramname").to_ascii_lowercase();
            ["station", "port", "throttle"]
                .iter()
                .all(|part| name.contains(part))
        });
        Ok(found.and_then(|n| child(n, "paramvalue").parse().ok()))
    })
}

/// Whether the answer is one to this question.
fn answered(status: u16, document: &Document<'_>, name: &str) -> Result<(), AxlError> {
    let mut all = document.descendants();
    match all.any(|n| n.tag_name().name() == name) {
        true => Ok(()),
        false => Err(AxlError::Malformed(format!("status {status}, no {name}"))),
    }
}

fn text<'a>(node: roxmltree::Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

fn child<'a>(node: roxmltree::Node<'a, '_>, name: &str) -> &'a str {
    let found = node.children().find(|c| c.tag_name().name() == name);
    found.map(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Schema, headers};
    use super::*;

    fn rows(of: &str, inside: &str) -> String {
        format!("<e><x:{of}Response xmlns:x=\"y\"><return>{inside}</return></x:{of}Response></e>")
    }

    #[test]
    fn profiles_are_those_that_are_encrypted_and_over_tls() {
        let one = |name: &str, mode: &str, transport: &str| {
            format!(
                "<phoneSecurityProfile><name>{name}</name><deviceSecurityMode>{mode}\
                 </deviceSecurityMode><transportType>{transport}</transportType>\
                 </phoneSecurityProfile>"
            )
        };
        let inside = one("b.example.test", "Encrypted", "TLS")
            + &one(&"l".repeat(256), "Encrypted", "TLS")
            + &one("two&#10;lines", "Encrypted", "TLS")
            + &one("a.example.test", "Encrypted", "TLS")
            + &one("open", "Non Secure", "TCP")
            + &one("signed", "Authenticated", "TLS");
        let body = rows("listPhoneSecurityProfile", &inside);
        assert_eq!(
            secure_profiles(200, &body),
            Ok(vec!["a.example.test".into(), "b.example.test".into()])
        );
        assert!(matches!(
            secure_profiles(200, "<a/>"),
            Err(AxlError::Malformed(_))
        ));
    }

    #[test]
    fn a_fingerprint_changes_with_a_row_and_not_with_their_order() {
        let row = |v: &str| format!("<row><v>{v}</v></row>");
        let print = |inside: &str| fingerprint(200, &rows("executeSQLQuery", inside)).unwrap();
        let two = print(&(row("ucm1") + &row("ucm2")));
        assert_eq!(two, print(&(row("ucm2") + &row("ucm1"))));
        assert_ne!(two, print(&(row("ucm1") + &row("ucm3"))));
        assert_ne!(two, print(&row("ucm1ucm2")));
        assert!(two.is_some());
        assert_eq!(print(""), None);
        let fault = "<e><faultstring>A syntax error has occurred.</faultstring></e>";
        assert!(matches!(fingerprint(500, fault), Err(AxlError::Fault(_))));
    }

    #[test]
    fn what_else_is_read_is_read_and_each_question_is_well_formed() {
        let inside = "<row><regiona>Default</regiona><regionb>Home</regionb><videobandwidth>384\
                      </videobandwidth></row><row><videobandwidth>none</videobandwidth></row>\
                      <row><videobandwidth>9000</videobandwidth></row>";
        let slow = slow_regions(200, &rows("executeSQLQuery", inside)).unwrap();
        assert_eq!(
            slow,
            [Region {
                from: "Default".into(),
                to: "Home".into(),
                kbps: 384
            }]
        );
        let body = rows(
            "listPhoneNtp",
            "<phoneNtp><ipAddress>10.0.0.9</ipAddress></phoneNtp>",
        );
        assert_eq!(phone_time(200, &body), Ok(vec!["10.0.0.9".into()]));
        let row = |name: &str| {
            let row =
                format!("<row><paramname>{name}</paramname><paramvalue>50</paramvalue></row>");
            line_throttle(200, &rows("executeSQLQuery", &row)).unwrap()
        };
        assert_eq!(row("SIPStationTCPPortThrottleThreshold"), Some(50));
        assert_eq!(row("SIPTrunkTCPPortThrottleThreshold"), None);
        let body = "<a><componentVersion><version> 12.5.1 </version></componentVersion></a>";
        assert_eq!(version(200, body).unwrap(), "12.5.1");
        assert_eq!(version(200, "<a/>").unwrap(), "");
        let long = format!("<a><version>1\n2{}</version></a>", "3".repeat(9_999));
        let long = version(200, &long).unwrap();
        assert!(long.starts_with("1·23") && long.len() <= super::super::WORDS_MAX);
        for operation in [
            Operation::Version,
            Operation::Profiles,
            Operation::Fingerprint,
            Operation::NodesFingerprint,
            Operation::Regions,
            Operation::PhoneTime,
            Operation::Throttle,
        ] {
            let body = operation.body(Schema::V10_0);
            assert!(Document::parse(&body).is_ok(), "{body}");
            let action = &headers(operation, Schema::V10_0)[1].1;
            assert!(action.contains("ver=10.0 "), "{action}");
        }
    }
}
