//! What DNS says from where this node stands, for people and programs: lookups, and a check of
//! what a deployment needs of it ([`check`]).
//!
//! In: names, and a resolver with the node's own servers, so that the answers are those that they
//! give the node: the inside view on a core, the DMZ's on an edge. The machine's hosts file, which
//! the node heeds, counts only if the resolver reads it: in the inside's check, not in a lookup.
//! Nothing is asked of the node itself, which need not run. Bounds: [`AT_ONCE`] questions at a
//! time, each bounded by the resolver.

pub mod check;

use std::collections::BTreeMap;
use std::net::IpAddr;

use net::dns::Resolver;
use net::dns::lookup::{Found, Kind, Points};
use serde_json::json;
use tokio::task::JoinSet;

use crate::show::table;

/// Questions under way at a time.
pub const AT_ONCE: usize = 16;

/// The services that a domain may have (F060, F062).
pub const SERVICES: [&str; 14] = [
    "_collab-edge._tls",
    "_collab-edge._tcp",
    "_cisco-uds._tcp",
    "_cuplogin._tcp",
    "_sips._tcp",
    "_sip._tcp",
    "_sip._udp",
    "_h323cs._tcp",
    "_h323ls._udp",
    "_h323rs._udp",
    "_turn._udp",
    "_turn._tcp",
    "_xmpp-client._tcp",
    "_xmpp-server._tcp",
];

/// A name and the type of its records.
pub type Question = (String, Kind);

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These records.
    Found(Vec<Found>),
    /// There is no such record.
    Absent,
    /// Nobody said: why.
    Silent(String),
}

impl Answer {
    /// Its records.
    pub fn records(&self) -> &[Found] {
        match self {
            Answer::Found(records) => records,
            Answer::Absent | Answer::Silent(_) => &[],
        }
    }
}

/// Answers by question.
pub type View = BTreeMap<Question, Answer>;

/// What to ask about a name when no type is given: of an address its name, of a service its
/// hosts, of anything else addresses, rules and all [`SERVICES`].
pub fn questions(name: &str, kinds: &[Kind]) -> Vec<Question> {
    let name = name.trim_end_matches('.').to_lowercase();
    if !kinds.is_empty() {
        return kinds.iter().map(|kind| (name.clone(), *kind)).collect();
    }
    if name.parse::<IpAddr>().is_ok() {
        return vec![(name, Kind::Ptr)];
    }
    if name.starts_with('_') {
        return vec![(name, Kind::Srv)];
    }
    let own = [Kind::A, Kind::Aaaa, Kind::Naptr].map(|kind| (name.clone(), kind));
    let services = SERVICES.map(|service| (format!("{service}.{name}"), Kind::Srv));
    own.into_iter().chain(services).collect()
}

/// Asks; each question once.
pub async fn ask(resolver: &Resolver, questions: impl IntoIterator<Item = Question>) -> View {
    let mut view = View::new();
    let mut under_way = JoinSet::new();
    for question in questions {
        if view.insert(question.clone(), Answer::Absent).is_some() {
            continue;
        }
        if under_way.len() >= AT_ONCE {
            view.extend(under_way.join_next().await.and_then(Result::ok));
        }
        let resolver = resolver.clone();
        under_way.spawn(async move {
            let (name, kind) = &question;
            let answer = match resolver.records(name, *kind).await {
                Ok(records) => Answer::Found(records),
                Err(net::Error::NotFound { .. }) => Answer::Absent,
                Err(e) => Answer::Silent(e.to_string()),
            };
            (question, answer)
        });
    }
    while let Some(done) = under_way.join_next().await {
        view.extend(done.ok());
    }
    view
}

/// What a lookup comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a record.
    Found,
    /// There is none.
    Absent,
    /// It cannot be told, since a server did not answer.
    Unknown,
}

/// What a lookup comes to: one silent answer makes the whole uncertain.
pub fn outcome(view: &View) -> Outcome {
    let mut outcome = Outcome::Absent;
    for answer in view.values() {
        match answer {
            Answer::Silent(_) => return Outcome::Unknown,
            Answer::Found(_) => outcome = Outcome::Found,
            Answer::Absent => {}
        }
    }
    outcome
}

/// Answers as a table: what there is, then what did not answer. What does not exist is shown only
/// if it is all that was asked.
pub fn text(view: &View) -> String {
    let mut rows = Vec::new();
    for ((name, kind), answer) in view {
        let row = |ttl: String, said: String| vec![name.clone(), kind.to_string(), ttl, said];
        match answer {
            Answer::Found(records) => rows.extend(records.iter().map(|r| {
                vec![
                    r.name.clone(),
                    r.kind.clone(),
                    format!("{} s", r.ttl_s),
                    r.data.clone(),
                ]
            })),
            Answer::Absent if view.len() == 1 => {
                rows.push(row("–".into(), "does not exist".into()));
            }
            Answer::Absent => {}
            Answer::Silent(why) => rows.push(row("–".into(), format!("no answer: {why}"))),
        }
    }
    let mut out = table(&["name", "type", "ttl", "says"], rows);
    let absent = view.values().filter(|a| **a == Answer::Absent).count();
    if view.len() > 1 && absent > 0 {
        out.push_str(&format!(
            "  {absent} of {} asked for do not exist\n",
            view.len()
        ));
    }
    out
}

/// Answers for programs.
pub fn as_json(view: &View) -> serde_json::Value {
    let rows = view.iter().map(|((name, kind), answer)| {
        let records = answer.records().iter().map(|r| {
            let (host, port) = match &r.points {
                Points::Service(host, port) => (Some(host.clone()), Some(*port)),
                Points::Address(address) => (Some(address.to_string()), None),
                Points::Elsewhere => (None, None),
            };
            json!({
                "name": r.name, "type": r.kind, "ttl_s": r.ttl_s, "data": r.data,
                "host": host, "port": port,
            })
        });
        let (outcome, why) = match answer {
            Answer::Found(_) => ("found", None),
            Answer::Absent => ("absent", None),
            Answer::Silent(why) => ("no answer", Some(why)),
        };
        json!({
            "name": name, "type": kind.to_string(), "outcome": outcome, "why": why,
            "records": records.collect::<Vec<_>>(),
        })
    });
    serde_json::Value::Array(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_type_is_asked_for_what_such_a_name_has() {
        let kinds = |name| {
            let asked = questions(name, &[]);
            asked.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("192.0.2.1"), [Kind::Ptr]);
        assert_eq!(kinds("2001:db8::1"), [Kind::Ptr]);
        assert_eq!(kinds("_sips._tcp.example.test"), [Kind::Srv]);
        let all = questions("Example.TEST.", &[]);
        assert_eq!(all.len(), 3 + SERVICES.len());
        assert!(all.contains(&("_turn._udp.example.test".into(), Kind::Srv)));
        assert!(all.contains(&("_h323cs._tcp.example.test".into(), Kind::Srv)));
        assert!(all.contains(&("example.test".into(), Kind::Naptr)));
        let given = questions("a.test", &[Kind::Aaaa]);
        assert_eq!(given, [("a.test".to_owned(), Kind::Aaaa)]);
    }

    #[test]
    fn a_lookup_with_a_silent_server_is_uncertain_whatever_else_is_found() {
        let record = Found {
            name: "a.test".into(),
            kind: "A".into(),
            ttl_s: 60,
            data: "192.0.2.1".into(),
            points: Points::Address("192.0.2.1".parse().unwrap()),
        };
        let a = (("a.test".to_owned(), Kind::A), Answer::Found(vec![record]));
        let b = (("a.test".to_owned(), Kind::Aaaa), Answer::Absent);
        let c = (
            ("a.test".to_owned(), Kind::Naptr),
            Answer::Silent("timed out\u{1b}".into()),
        );
        let found = View::from([a.clone(), b.clone()]);
        assert_eq!(outcome(&found), Outcome::Found);
        assert!(text(&found).contains("a.test  A     60 s  192.0.2.1"));
        assert!(text(&found).contains("1 of 2 asked for do not exist"));
        let absent = View::from([b.clone()]);
        assert_eq!(outcome(&absent), Outcome::Absent);
        assert!(text(&absent).contains("does not exist"));
        let unsure = View::from([a, b, c]);
        assert_eq!(outcome(&unsure), Outcome::Unknown);
        assert!(text(&unsure).contains("no answer: timed out·"));
        let rows = as_json(&unsure);
        assert_eq!(rows[0]["records"][0]["host"], "192.0.2.1");
        assert_eq!(rows[2]["outcome"], "no answer");
    }
}
