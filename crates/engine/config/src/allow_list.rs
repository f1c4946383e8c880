//! A rule of the allow list as text: a TOML block, a line of CSV, a URL.
//!
//! The CSV has the columns `Url,Deployment,HttpMethods,MatchType,Description`, as administrators
//! know them from elsewhere (RFC 4180 quoting; the first line names the columns). In: text. Out:
//! rules, or faults with their line. Bounds: [`CSV_BYTES_MAX`], [`RULES_MAX`].

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::inside::{self, usual_port};
use crate::model::AllowRule;

/// Rules at most.
pub const RULES_MAX: usize = 2_000;

/// The longest CSV text read.
pub const CSV_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Methods of a rule that names none.
pub const DEFAULT_METHODS: [&str; 2] = ["GET", "HEAD"];

const COLUMNS: [&str; 5] = [
    "url",
    "deployment",
    "httpmethods",
    "matchtype",
    "description",
];

/// Refuses a path that no request can match, or that two servers could read in two ways.
///
/// # Errors
/// What is wrong, in a few words.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it does not begin with a slash");
    }
    if path.len() > 1024 {
        return Err("it is longer than 1024 characters");
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) || path.contains(['?', '#', '\\', '"']) {
        return Err("it has a character that no path has, or a query");
    }
    inside::check_path(path)
}

/// A host as requests name it; a name may end in a dot here, and an IPv4 address be mapped.
///
/// # Errors
/// What is wrong, in a few words.
pub fn plain_host(host: &str) -> Result<String, &'static str> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => inside::host(&ip.to_canonical().to_string()),
        Err(_) => inside::host(host.strip_suffix('.').unwrap_or(host)),
    }
}

/// What is wrong with a list of methods.
pub fn methods_fault(methods: &[String]) -> Option<&'static str> {
    let token = |m: &String| {
        !m.is_empty() && m.len() <= 32 && m.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
    };
    if methods.is_empty() || methods.len() > 32 {
        Some("it names no method, or too many")
    } else if !methods.iter().all(token) {
        Some("it names what is no method")
    } else if methods.iter().any(|m| m == "CONNECT" || m == "TRACE") {
        Some("CONNECT and TRACE never pass")
    } else {
        None
    }
}

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `http` or `https`.
    pub scheme: String,
    /// A name in lower case, or an address without brackets.
    pub host: String,
    /// The port; the scheme's if none is written.
    pub port: u16,
    /// The path, `/` if none is written, without query and fragment.
    pub path: String,
}

/// Reads `protocol://host[:port][/path]`; a query is left out.
///
/// # Errors
/// What is wrong, in a few words.
pub fn read_url(text: &str) -> Result<Url, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it is no URL")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err("its scheme is neither http nor https");
    }
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(at);
    if authority.contains('@') {
        return Err("it names a user");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address stands in brackets");
    }
    let port = match port {
        // RFC 3986 §3.2.3: an empty one is none.
        None | Some("") => usual_port(&scheme),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let number = digits.parse::<u16>().ok().filter(|port| *port > 0);
            number.ok_or("its port is out of range")?
        }
        Some(_) => return Err("its port is no number"),
    };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    Ok(Url {
        host: plain_host(host)?,
        scheme,
        port,
        path: path.to_owned(),
    })
}

impl AllowRule {
    /// The server and path as a URL; the port where it is not the scheme's.
    pub fn url(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let port = if self.port == usual_port(&self.scheme) {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        format!("{}://{host}{port}{}", self.scheme, self.path)
    }

    /// A block of the configuration file; what has its default is left out.
    pub fn toml(&self) -> String {
        let mut out = String::from("[[allow_list]]\n");
        let mut line = |key: &str, value: String| {
            let _ = writeln!(out, "{key} = {value}");
        };
        line("host", quoted(&self.host));
        if self.scheme != "https" {
            line("scheme", quoted(&self.scheme));
        }
        if self.port != usual_port(&self.scheme) {
            line("port", self.port.to_string());
        }
        line("path", quoted(&self.path));
        if self.exact {
            line("match", quoted("exact"));
        }
        if self.methods != DEFAULT_METHODS {
            let methods: Vec<String> = self.methods.iter().map(|m| quoted(m)).collect();
            line("methods", format!("[{}]", methods.join(", ")));
        }
        if self.proxy_protocol {
            line("proxy_protocol", "true".into());
        }
        if !self.description.is_empty() {
            line("description", quoted(&self.description));
        }
        out
    }

    /// Whether two rules let the same requests through.
    pub fn same(&self, other: &AllowRule) -> bool {
        let sorted = |rule: &AllowRule| {
            let mut methods = rule.methods.clone();
            methods.sort();
            methods.dedup();
            methods
        };
        (&self.scheme, &self.host, self.port) == (&other.scheme, &other.host, other.port)
            && (&self.path, self.exact) == (&other.path, other.exact)
            && sorted(self) == sorted(other)
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Something wrong with a line of CSV.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct CsvFault {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub cause: String,
}

/// What a CSV text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csv {
    /// The rules in their order.
    pub rules: Vec<AllowRule>,
    /// What was left out, with the line.
    pub notes: Vec<CsvFault>,
}

/// Writes rules as CSV, with the line of column names.
pub fn csv(rules: &[AllowRule]) -> String {
    let mut out = String::from("Url,Deployment,HttpMethods,MatchType,Description\n");
    for rule in rules {
        let kind = if rule.exact { "exact" } else { "prefix" };
        let cells = [
            rule.url(),
            String::new(),
            rule.methods.join(","),
            kind.to_owned(),
            rule.description.clone(),
        ];
        let cells: Vec<String> = cells.iter().map(|c| cell(c)).collect();
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Reads CSV. Columns are known by the names of the first line; all but `Url` may be absent.
///
/// # Errors
/// All faults, if there is one.
pub fn read_csv(text: &str) -> Result<Csv, Vec<CsvFault>> {
    let fault = |line, cause: &str| CsvFault {
        line,
        cause: cause.to_owned(),
    };
    if text.len() > CSV_BYTES_MAX {
        return Err(vec![fault(1, "the file is too long")]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = records(text).map_err(|f| vec![f])?.into_iter();
    let Some((_, head)) = rows.next() else {
        return Err(vec![fault(1, "the file is empty")]);
    };
    let names: Vec<String> = head.iter().map(|n| n.trim().to_ascii_lowercase()).collect();
    let at = COLUMNS.map(|column| names.iter().position(|n| n == column));
    if at.first().copied().flatten().is_none() {
        let cause = "the first line names no column Url; write \
                     Url,Deployment,HttpMethods,MatchType,Description";
        return Err(vec![fault(1, cause)]);
    }
    let (mut out, mut faults) = (Csv::default(), Vec::new());
    for (line, row) in rows {
        let cells = at.map(|at| at.and_then(|at| row.get(at)).map_or("", |c| c.trim()));
        match rule_of(cells) {
            _ if out.rules.len() == RULES_MAX => {
                faults.push(fault(line, "there are more than 2000 rules"));
                break;
            }
            Ok(rule) => out.rules.push(rule),
            Err(cause) => faults.push(fault(line, &cause)),
        }
        let [_, deployment, ..] = cells;
        if !deployment.is_empty() {
            let cause = format!("deployment {deployment} is left out: there are none here");
            out.notes.push(fault(line, &cause));
        }
    }
    if faults.is_empty() {
        Ok(out)
    } else {
        Err(faults)
    }
}

fn rule_of(cells: [&str; 5]) -> Result<AllowRule, String> {
    let [url, _, methods, kind, description] = cells;
    let url = read_url(url).map_err(|cause| format!("Url {url:?}: {cause}"))?;
    check_path(&url.path).map_err(|cause| format!("path {:?}: {cause}", url.path))?;
    let exact = match kind.to_ascii_lowercase().as_str() {
        "" | "prefix" => false,
        "exact" => true,
        _ => return Err(format!("MatchType {kind:?} is neither exact nor prefix")),
    };
    let mut named: Vec<String> = methods
        .split([',', ';', ' '])
        .filter(|m| !m.is_empty())
        .map(str::to_ascii_uppercase)
        .collect();
    if named.is_empty() {
        named = DEFAULT_METHODS.map(str::to_owned).to_vec();
    }
    if let Some(cause) = methods_fault(&named) {
        return Err(format!("HttpMethods {methods:?}: {cause}"));
    }
    Ok(AllowRule {
        host: url.host,
        scheme: url.scheme,
        port: url.port,
        path: url.path,
        exact,
        methods: named,
        proxy_protocol: false,
        description: description.to_owned(),
    })
}

/// Records with the line each begins at; empty lines are left out (RFC 4180).
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, CsvFault> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut began, mut quoted) = (1, 1, false);
    let mut rest = text.chars().peekable();
    let mut end_row = |row: &mut Vec<String>, field: &mut String, began: usize| {
        row.push(std::mem::take(field));
        let row = std::mem::take(row);
        if row.iter().any(|c: &String| !c.trim().is_empty()) {
            rows.push((began, row));
        }
    };
    while let Some(c) = rest.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            c if quoted => field.push(c),
            '"' if field.trim().is_empty() => {
                field.clear();
                quoted = true;
            }
            ',' => row.push(std::mem::take(&mut field)),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' => {
                end_row(&mut row, &mut field, began);
                began = line;
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err(CsvFault {
            line: began,
            cause: "a quotation mark is not closed".into(),
        });
    }
    end_row(&mut row, &mut field, began);
    Ok(rows)
}

#[cfg(test)]
mod tests;
