//! The section `allow_list`: inside web servers that clients may reach. What could never match a
//! request, because the edge refuses its spelling, is refused here with its line.

use super::reader::Reader;
use crate::allow_list::{self as rules, RULES_MAX};
use crate::file::{AllowRule as Written, File};
use crate::model::AllowRule;

const SECTION: &str = "allow_list";

pub(super) fn rules(r: &mut Reader<'_>, file: &File) -> Vec<AllowRule> {
    if file.allow_list.len() > RULES_MAX {
        let fix = "give 2000 at most: a prefix of a path covers many pages";
        r.error(SECTION, RULES_MAX, "", "they are too many", fix);
    }
    let written = file.allow_list.iter().take(RULES_MAX).enumerate();
    written.filter_map(|(i, a)| rule(r, i, a)).collect()
}

fn rule(r: &mut Reader<'_>, i: usize, a: &Written) -> Option<AllowRule> {
    let scheme = a.scheme.clone().unwrap_or_else(|| "https".into());
    if scheme != "http" && scheme != "https" {
        let cause = "it is neither http nor https";
        r.error(SECTION, i, "scheme", cause, "write one of them");
        return None;
    }
    let path = a.path.clone().unwrap_or_else(|| "/".into());
    if let Err(cause) = rules::check_path(&path) {
        let fix = "write a path as /directory/photos: it begins with /, without query, .. and \
                   escaped separators";
        r.error(SECTION, i, "path", cause, fix);
        return None;
    }
    let exact = match a.r#match.as_deref() {
        None | Some("prefix") => false,
        Some("exact") => true,
        Some(_) => {
            let cause = "it is neither prefix nor exact";
            r.error(SECTION, i, "match", cause, "write one of them");
            return None;
        }
    };
    let host = r.host(SECTION, i, "host", &a.host)?;
    let host = match rules::plain_host(&host) {
        Ok(host) => host,
        Err(cause) => {
            let fix = "write an address in full, as 10.0.0.9 or 2001:db8::9";
            r.error(SECTION, i, "host", cause, fix);
            return None;
        }
    };
    let port = r.number(SECTION, i, "port", a.port);
    let methods = match &a.methods {
        None => rules::DEFAULT_METHODS.map(str::to_owned).to_vec(),
        Some(written) => written.iter().map(|m| m.to_ascii_uppercase()).collect(),
    };
    if let Some(cause) = rules::methods_fault(&methods) {
        let fix = "name methods as GET, HEAD, POST, PUT, DELETE";
        r.error(SECTION, i, "methods", cause, fix);
        return None;
    }
    Some(AllowRule {
        port: port.unwrap_or(crate::inside::usual_port(&scheme)),
        host,
        scheme,
        path,
        exact,
        methods,
        proxy_protocol: a.proxy_protocol.unwrap_or(false),
        description: a.description.clone().unwrap_or_default(),
    })
}
