//! From text to [`Config`], with everything that is wrong at once.

mod allow_list;
mod core;
mod edge;
mod level;
mod limits;
mod listeners;
mod reader;
mod routing;
mod sign_in;
mod single_sign_on;
mod wording;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::file::File;
use crate::model::{CHAT_NODE_ALIASES_MAX, Certificate, Config, Log, LogFormat, Role};
use crate::place;
use reader::Reader;

/// Sections that may stand more than once.
const TABLES: [&str; 12] = [
    "domains",
    "unified_cm",
    "im_presence",
    "unity_connection",
    "call_control",
    "xmpp_server",
    "allow_list",
    "zones",
    "transforms",
    "search_rules",
    "traversal.peer",
    "traversal.zone",
];

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The node starts, but something will not work as one might think.
    Warning,
    /// The node does not start.
    Error,
}

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// `section.key`.
    pub key: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(
            f,
            "line {}: {word}: {}: {}; {}",
            self.line, self.key, self.cause, self.fix
        )
    }
}

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The settings.
    pub config: Config,
    /// What one might want to know.
    pub warnings: Vec<Finding>,
}

/// Reads and checks a file's text. Relative paths are taken from the folder of `path`.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load(text: &str, path: &Path) -> Result<Checked, Vec<Finding>> {
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(e) => {
            let offset = e.span().map_or(0, |s| s.start);
            let place = place::at(text, offset);
            let key = place::key_at(text, offset).unwrap_or_else(|| "file".into());
            let (cause, fix) = wording::of(&key, e.message());
            return Err(vec![Finding {
                severity: Severity::Error,
                line: place.line,
                column: place.column,
                cause,
                key,
                fix,
            }]);
        }
    };
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut reader = Reader {
        text,
        folder,
        findings: Vec::new(),
    };
    let config = build(&mut reader, &file);
    let mut findings = reader.findings;
    findings.sort_by_key(|f| (f.line, f.column));
    match config {
        Some(config) if findings.iter().all(|f| f.severity == Severity::Warning) => Ok(Checked {
            config,
            warnings: findings,
        }),
        _ => Err(findings),
    }
}

fn build(r: &mut Reader<'_>, file: &File) -> Option<Config> {
    let name = r.host_name("", "name", &file.name);
    let domain = r.domain_name("", 0, "domain", &file.domain);
    if let Some(name) = &name
        && name.as_str().contains('.')
    {
        r.error(
            "",
            0,
            "name",
            "it holds a dot",
            "give the bare host name here and its DNS domain as `domain`",
        );
    }
    let dns: Vec<SocketAddr> = r.addresses("dns", "servers", &file.dns.servers, 53);
    let certificate = certificate(r, file);
    let log = log(r, file);
    let administration = r.addresses("administration", "listen", &file.administration.listen, 443);
    let fqdn = format!("{}.{}", file.name, file.domain).to_ascii_lowercase();
    let overload = limits::overload(r, file);
    let role = match file.role.as_str() {
        "edge" => edge::edge(r, file, &fqdn).map(|e| Role::Edge(Box::new(e))),
        "core" => core::core(r, file).map(|c| Role::Core(Box::new(c))),
        "" => {
            r.error(
                "",
                0,
                "role",
                "it is missing",
                "write role = \"edge\" or role = \"core\"",
            );
            None
        }
        _ => {
            r.error(
                "",
                0,
                "role",
                "it is neither edge nor core",
                "write \"edge\" or \"core\"",
            );
            None
        }
    };
    let config = Config {
        name: name?,
        domain: domain?,
        data: r.path(file.data.as_deref().unwrap_or("data")),
        dns,
        certificate: certificate?,
        log: log?,
        administration,
        administration_token: file.administration.token_file.as_deref().map(|p| r.path(p)),
        overload,
        role: role?,
    };
    listeners::check(r, &config);
    Some(config)
}

fn certificate(r: &mut Reader<'_>, file: &File) -> Option<Certificate> {
    let c = &file.certificate;
    let mut one = |key: &str, value: &str, what: &str| -> Option<PathBuf> {
        if value.is_empty() {
            let fix = format!("name the PEM file with {what}");
            r.error("certificate", 0, key, "it is missing", &fix);
            return None;
        }
        Some(r.path(value))
    };
    let chain = one(
        "chain",
        &c.chain,
        "this node's certificate and those that signed it",
    );
    let key = one("key", &c.key, "the private key of the certificate");
    let trusted = one("trusted", &c.trusted, "the authorities this node trusts");
    if c.chat_node_aliases.len() > CHAT_NODE_ALIASES_MAX {
        let cause = format!("more than {CHAT_NODE_ALIASES_MAX} aliases");
        let fix = "list the aliases of chat nodes that federated users reach, and no others";
        r.error("certificate", 0, "chat_node_aliases", &cause, fix);
    }
    let aliases = c.chat_node_aliases.iter();
    let aliases = aliases.filter_map(|a| r.domain_name("certificate", 0, "chat_node_aliases", a));
    let chat_node_aliases = aliases.collect();
    Some(Certificate {
        chain: chain?,
        key: key?,
        trusted: trusted?,
        chat_node_aliases,
    })
}

fn log(r: &mut Reader<'_>, file: &File) -> Option<Log> {
    let format = match file.log.format.as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(_) => {
            r.error(
                "log",
                0,
                "format",
                "it is neither text nor json",
                "write \"text\" or \"json\"",
            );
            return None;
        }
    };
    let level = file.log.level.clone().unwrap_or_else(|| "info".into());
    if let Some(part) = level::flaw(&level) {
        let cause = format!("{part:?} is neither a level nor a directive");
        let fix = "write error, warn, info, debug, trace or off, or with modules of their own: \
                   \"info,sip=debug\"";
        r.error("log", 0, "level", &cause, fix);
        return None;
    }
    Some(Log {
        level,
        format,
        file: file.log.file.as_deref().map(|p| r.path(p)),
    })
}

#[cfg(test)]
mod tests;
