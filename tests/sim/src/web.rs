//! Directory, administration and DNS inside, as the core asks them: UDS, AXL, SRV records.

use std::collections::BTreeMap;

use crate::idp::{self, Idp};
use bytes::Bytes;
use node::io::{DnsError, Fetch, FetchError, Fetched, Resolve, Resolved};
use sip::locate::Naptr;

use crate::house;

/// A user of the directory.
#[derive(Clone, Debug)]
pub struct User {
    /// The password.
    pub password: String,
    /// The telephone number.
    pub number: String,
}

/// What DNS knows of the foreign domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// NAPTR records, and a server by the service that they name.
    Naptr,
    /// A server by its service.
    Service,
    /// Two servers, the first of which is no more.
    Backup,
    /// An address by its name alone.
    Address,
    /// Nothing: there is no such domain.
    Absent,
    /// Nobody answers.
    Silent,
}

impl Foreign {
    /// All of them; those by which the domain can be reached come first.
    pub const ALL: [Foreign; 6] = [
        Foreign::Naptr,
        Foreign::Service,
        Foreign::Backup,
        Foreign::Address,
        Foreign::Absent,
        Foreign::Silent,
    ];

    /// How many of those that come first lead there.
    pub const REACHED: u64 = 4;
}

/// Everything that answers HTTPS and DNS inside, and DNS outside.
#[derive(Debug)]
pub struct Web {
    /// Call control's nodes by name; the first one is the publisher.
    pub nodes: Vec<String>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Nobody answers.
    pub down: bool,
    /// The foreign domain.
    pub foreign: Foreign,
    /// Names that were asked for and are no business of the core's.
    pub findings: Vec<String>,
    /// Requests that were answered.
    pub answered: u32,
    /// Who vouches for a domain's users.
    pub idp: Idp,
}

impl Web {
    /// With one node and no user.
    pub fn new(node: &str) -> Web {
        Web {
            nodes: vec![node.to_owned()],
            users: BTreeMap::new(),
            down: false,
            foreign: Foreign::Service,
            findings: Vec::new(),
            answered: 0,
            idp: Idp::default(),
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn fetch(&mut self, request: &Fetch) -> Result<Fetched, FetchError> {
        let server = format!("{}:{}", request.host, request.port);
        if server == format!("{}:443", idp::HOST) && request.tls_verify {
            let (status, body) = self.idp.answer(request);
            let body = Bytes::from(body);
            return Ok(Fetched { status, body });
        }
        let known = self.nodes.contains(&request.host) && request.port == 8443;
        if !known || request.scheme != "https" || !request.tls_verify {
            self.findings
                .push(format!("{} {server} was asked for", request.scheme));
        }
        if self.down || !known {
            return Err(FetchError {
                server,
                fault: node::io::FetchFault::Unreachable,
                why: "connection refused".into(),
            });
        }
        self.answered += 1;
        let (status, body) = self.answer(request);
        Ok(Fetched {
            status,
            body: Bytes::from(body),
        })
    }

    fn answer(&mut self, request: &Fetch) -> (u16, String) {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let node = self.nodes[0].clone();
        if request.method == "POST" && path == "/axl/" {
            return match &request.basic {
                Some(_) if request.body.contains("from processnode") => {
                    let row = self.nodes.join(" ");
                    (200, format!("<e><row><v>{row}</v></row></e>"))
                }
                Some((u, p)) if u.expose() == "axl" && p.expose() == "axl pw" => (200, self.axl()),
                _ => (401, String::new()),
            };
        }
        match path.trim_start_matches("/cucm-uds/") {
            "clusterUser" => {
                let name = query.trim_start_matches("username=").to_ascii_lowercase();
                let found = self.users.contains_key(&name);
                let home = format!(
                    "<homeCluster serversUri=\"https://{node}:8443/cucm-uds/servers\">{node}\
                     </homeCluster>"
                );
                let home = if found { home } else { String::new() };
                (
                    200,
                    format!(
                        "<clusterUser version=\"12.5\"><result found=\"{found}\"/>{home}\
                         </clusterUser>"
                    ),
                )
            }
            "servers" => {
                let all: String = self
                    .nodes
                    .iter()
                    .map(|n| format!("<server>{n}</server>"))
                    .collect();
                (200, format!("<servers version=\"12.5\">{all}</servers>"))
            }
            rest => self.user(request, rest.trim_start_matches("user/")),
        }
    }

    fn user(&self, request: &Fetch, rest: &str) -> (u16, String) {
        let (name, part) = rest.split_once('/').unwrap_or((rest, ""));
        let name = name.to_ascii_lowercase();
        let given = request.basic.as_ref();
        let user = self.users.get(&name).filter(|u| {
            given.is_some_and(|(n, p)| {
                n.expose().eq_ignore_ascii_case(&name) && *p.expose() == u.password
            })
        });
        match (user, part) {
            (None, _) => (401, String::new()),
            (Some(_), "devices") => {
                let device = format!("CSF{}", name.to_ascii_uppercase());
                (
                    200,
                    format!("<devices><device><name>{device}</name></device></devices>"),
                )
            }
            (Some(user), "") => {
                let number = &user.number;
                (
                    200,
                    format!(
                        "<user><userName>{name}</userName><phoneNumber>{number}</phoneNumber>\
                         </user>"
                    ),
                )
            }
            _ => (404, String::new()),
        }
    }

    fn axl(&self) -> String {
        let all: String = self
            .nodes
            .iter()
            .map(|n| {
                format!(
                    "<processNode><name>{n}</name><nodeUsage>Publisher</nodeUsage>\
                     <processNodeRole>CUCM Voice/Video</processNodeRole></processNode>"
                )
            })
            .collect();
        format!(
            "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\">\
             <soapenv:Body>\
             <ns:listProcessNodeResponse xmlns:ns=\"http://www.cisco.com/AXL/API/9.1\">\
             <return><processNode><name>EnterpriseWideData</name></processNode>{all}</return>\
             </ns:listProcessNodeResponse></soapenv:Body></soapenv:Envelope>"
        )
    }

    /// Answers a question to DNS.
    ///
    /// # Errors
    /// The name does not exist, or nobody answers.
    pub fn resolve(&mut self, question: &Resolve) -> Result<Resolved, DnsError> {
        let (Resolve::Naptr(name) | Resolve::Service(name) | Resolve::Address(name)) = question;
        if name.ends_with(house::FOREIGN_DOMAIN) {
            return self.abroad(name, question);
        }
        match question {
            Resolve::Service(name) if self.down => {
                Err(DnsError::NoAnswer(name.clone(), "timed out".into()))
            }
            Resolve::Service(name) if name.starts_with("_cisco-uds._tcp.") => {
                Ok(Resolved::Service(vec![(1, 1, 8443, self.nodes[0].clone())]))
            }
            Resolve::Service(name) => {
                let domains = [house::DOMAIN, idp::DOMAIN];
                if !domains
                    .iter()
                    .any(|d| name.ends_with(&format!("._tcp.{d}")))
                {
                    self.findings.push(format!("DNS was asked for {name}"));
                }
                Err(DnsError::NotFound(name.clone()))
            }
            Resolve::Address(name) if self.nodes.contains(name) => {
                Ok(Resolved::Address(vec![house::PBX.ip()]))
            }
            Resolve::Naptr(name) | Resolve::Address(name) => {
                self.findings.push(format!("DNS was asked for {name}"));
                Err(DnsError::NotFound(name.clone()))
            }
        }
    }

    /// What the world's DNS says of the foreign domain.
    fn abroad(&self, name: &str, question: &Resolve) -> Result<Resolved, DnsError> {
        let domain = house::FOREIGN_DOMAIN;
        let absent = || Err(DnsError::NotFound(name.to_owned()));
        let host = |host: &str| format!("{host}.{domain}");
        match (self.foreign, question) {
            (Foreign::Silent, _) => Err(DnsError::NoAnswer(name.to_owned(), "timed out".into())),
            (Foreign::Naptr, Resolve::Naptr(_)) => {
                let record = |preference: u16, service: &str, to: &str| Naptr {
                    order: 10,
                    preference,
                    flags: "s".into(),
                    service: service.into(),
                    replacement: format!("{to}.{domain}"),
                };
                Ok(Resolved::Naptr(vec![
                    record(1, "SIP+D2U", "_sip._udp"),
                    record(2, "SIPS+D2T", "_sips._tcp.far"),
                ]))
            }
            (Foreign::Naptr, Resolve::Service(name)) if !name.starts_with("_sips._tcp.far.") => {
                absent()
            }
            (Foreign::Naptr | Foreign::Service, Resolve::Service(name))
                if name.starts_with("_sips._tcp.") =>
            {
                Ok(Resolved::Service(vec![(1, 1, 5061, host("proxy"))]))
            }
            (Foreign::Backup, Resolve::Service(name)) if name.starts_with("_sips._tcp.") => {
                let dead = (1, 1, 5061, host("gone"));
                Ok(Resolved::Service(vec![dead, (2, 1, 5061, host("proxy"))]))
            }
            (Foreign::Absent, _) | (_, Resolve::Naptr(_) | Resolve::Service(_)) => absent(),
            (_, Resolve::Address(name)) => {
                let dead = name.starts_with("gone.");
                let at = if dead {
                    house::FOREIGN_DEAD
                } else {
                    house::FOREIGN
                };
                Ok(Resolved::Address(vec![at.into()]))
            }
        }
    }
}
