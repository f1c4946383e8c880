//! What a node sends on, beside what it got.

use std::rc::Rc;

use super::{KEPT_MAX, TRACE, Watch, Who};
use crate::raw::Raw;
use crate::text::Text;

/// Fields that a node on the way may change (RFC 3261 §16.6, RFC 3327, RFC 3325, and the rules of
/// the two nodes): everything else passes as it came.
const EDITED: [&str; 16] = [
    "via",
    "route",
    "record-route",
    "path",
    "contact",
    "from",
    "to",
    "cseq",
    "max-forwards",
    "content-length",
    "p-asserted-identity",
    "authorization",
    "proxy-authorization",
    "www-authenticate",
    "proxy-authenticate",
    "x-sim-trace",
];

/// Fields that name a dialog, which the core gives the names of its other leg.
const NAMING: [&str; 5] = ["rack", "refer-to", "replaces", "join", "target-dialog"];

/// A message as it was seen.
pub(super) struct Seen {
    raw: Raw,
    text: Text,
}

impl Watch {
    pub(super) fn carried(&mut self, from: &Who, to: &Who, text: &Text, raw: Raw) {
        let value = text.field(TRACE).to_owned();
        let Ok(trace) = value.parse::<u64>() else {
            if value.starts_with("hop") && from.life.is_some() {
                self.find(from, text, "was meant for one hop alone");
            }
            return;
        };
        let text = text.clone();
        let new = Rc::new(Seen { raw, text });
        // What a node sends is held beside what it got itself: it may try several ways.
        let got = self.on_the_way.get(&(trace, from.name.clone())).cloned();
        self.on_the_way
            .insert((trace, to.name.clone()), Rc::clone(&new));
        while self.on_the_way.len() > KEPT_MAX {
            self.on_the_way.pop_first();
        }
        let Some(old) = got.filter(|_| from.life.is_some()) else {
            return;
        };
        self.seen[1] += 1;
        if new.raw.body.is_empty() && self.ended.contains(new.text.field("Call-ID")) {
            // Its call is over: a description that is late has no meaning any more.
            return;
        }
        let mut wrong: Vec<String> = lines(&old, &new, from.core).into_iter().collect();
        wrong.extend(first_line(&old.text, &new.text, from.core));
        wrong.extend(parties(&old, &new, from.core));
        wrong.extend(body(&old.raw, &new.raw));
        let text = new.text.clone();
        for what in wrong {
            self.find(from, &text, &format!("towards {}: {what}", to.name));
        }
    }
}

fn lines(old: &Seen, new: &Seen, core: bool) -> Option<String> {
    let mut names = [&EDITED[..], &NAMING[..]].concat();
    if !core && is_granted(&new.text) {
        // The edge shortens the first interval by up to a fifth, and nothing else of it.
        names.push("expires");
        let seconds = |t: &Text| t.field("Expires").trim().parse::<u64>().ok();
        let (was, is) = (seconds(&old.text), seconds(&new.text));
        let fair = was
            .zip(is)
            .is_none_or(|(was, is)| is <= was && is * 5 >= was * 4);
        if !fair || was.is_some() != is.is_some() {
            return Some(format!("Expires was {was:?} and is {is:?}"));
        }
    }
    if !core && new.text.uri().contains("business") {
        // Who answers for whom, a foreign host does not say.
        names.push("referred-by");
    }
    let (mut was, mut is) = (old.raw.without(&names), new.raw.without(&names));
    if new.text.method() == "REGISTER" {
        // The core says that it will be in Path (RFC 3327 §5.1).
        is.retain(|f| *f != b"Supported: path" || was.contains(f));
    }
    if core {
        timers(&old.text, &mut was, &mut is);
    }
    // What the nodes tell one another begins with the core's answer and ends at the edge.
    let ours = |f: &&[u8]| {
        let name = f.get(..11);
        name.is_some_and(|n| n.eq_ignore_ascii_case(b"X-Causeway-"))
    };
    match core {
        true => is.retain(|f| !ours(f) || was.contains(f)),
        false => was.retain(|f| !ours(f) || is.contains(f)),
    }
    if was == is {
        return None;
    }
    let show = |fields: &[&[u8]]| -> Vec<String> {
        let text = |f: &&[u8]| String::from_utf8_lossy(f).into_owned();
        fields.iter().map(text).collect()
    };
    let lost: Vec<&[u8]> = was.iter().filter(|f| !is.contains(f)).copied().collect();
    let more: Vec<&[u8]> = is.iter().filter(|f| !was.contains(f)).copied().collect();
    let (lost, more) = (show(&lost), show(&more));
    Some(format!(
        "fields lost {lost:?}, new {more:?}, or out of order"
    ))
}

/// The core has a session timer on each leg (RFC 4028): it asks for one where nobody did, and tells
/// one end of its own, or none, where the other end's is no matter of it.
fn timers<'a>(old: &Text, was: &mut Vec<&'a [u8]>, is: &mut Vec<&'a [u8]>) {
    let about = |f: &&[u8]| {
        let name = Raw::name(f);
        name == b"session-expires" || *f == b"Require: timer"
    };
    let granted = old.status().is_some_and(|s| (200..300).contains(&s));
    let both = [&*was, &*is].map(|fields| fields.iter().any(about));
    if granted && both != [true, true] {
        was.retain(|f| !about(f));
        is.retain(|f| !about(f));
    } else if old.status().is_none() {
        let asked = |f: &&[u8]| about(f) || *f == b"Supported: timer";
        let before = was.clone();
        is.retain(|f| !asked(f) || before.contains(f));
    }
}

/// Whether a message is a registrar's yes.
fn is_granted(text: &Text) -> bool {
    text.status() == Some(200) && text.field("CSeq").ends_with("REGISTER")
}
/// The hop count of a link where the configuration says nothing.
const HOP_COUNT: i64 = 15;

/// Method, status and hops.
fn first_line(old: &Text, new: &Text, core: bool) -> Option<String> {
    if old.status().is_some() {
        // The reason is not compared: it is for people.
        return (old.status() != new.status()).then(|| format!("it was {}", old.start));
    }
    if old.method() != new.method() {
        return Some(format!("it was {}", old.start));
    }
    let hops = |t: &Text| t.field("Max-Forwards").trim().parse::<i64>().ok();
    match (hops(old), hops(new)) {
        // The core acknowledges as a party to the call, whatever came of the ACK of the other leg.
        (Some(0), _) if core && new.method() == "ACK" => None,
        (Some(0), _) => Some("it had no hops left".to_owned()),
        (Some(was), Some(is)) if is == was - 1 => None,
        // A link lets nothing pass more servers than this.
        (Some(was), Some(HOP_COUNT)) if was > HOP_COUNT => None,
        (was, is) => Some(format!("Max-Forwards was {was:?} and is {is:?}")),
    }
}

/// From, To and CSeq: the core has a tag and numbers of its own, and changes nothing else.
fn parties(old: &Seen, new: &Seen, core: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let untagged = |raw: &Raw, name: &[u8]| {
        let value = String::from_utf8_lossy(raw.get(name).unwrap_or_default()).into_owned();
        match (value.split_once(";tag="), core) {
            (Some((before, after)), true) => {
                let more = after.split_once(';').map_or("", |(_, more)| more);
                format!("{before};{more}")
            }
            (None, true) => format!("{value};"),
            _ => value,
        }
    };
    for name in ["from", "to"] {
        let (was, is) = (
            untagged(&old.raw, name.as_bytes()),
            untagged(&new.raw, name.as_bytes()),
        );
        if was != is {
            wrong.push(format!("{name} was {was} and is {is}"));
        }
    }
    let numbers = [old.raw.get(b"cseq"), new.raw.get(b"cseq")];
    if !core && numbers[0] != numbers[1] {
        wrong.push("another CSeq on a proxy".to_owned());
    }
    wrong
}

fn body(old: &Raw, new: &Raw) -> Option<String> {
    let both = old.is_description() && new.is_description();
    let same = match both {
        true => description(&old.body) == description(&new.body),
        false => old.body == new.body,
    };
    let show = |raw: &Raw| String::from_utf8_lossy(&raw.body).into_owned();
    (!same).then(|| format!("its body was {:?} and is {:?}", show(old), show(new)))
}

/// A description without what the nodes may change: addresses, ports, profile, keys, candidates.
fn description(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body).into_owned();
    let stays = |line: &str| {
        let gone = [
            "c=",
            "a=crypto:",
            "a=x-causeway-",
            "a=rtcp:",
            "a=candidate:",
        ];
        !gone.iter().any(|g| line.starts_with(g))
    };
    let kept = text.split("\r\n").filter(|l| stays(l));
    kept.map(|line| match line.split_at_checked(2) {
        Some(("o=", rest)) => {
            let words: Vec<&str> = rest.split(' ').take(3).collect();
            format!("o={}", words.join(" "))
        }
        Some(("m=", rest)) => {
            let words: Vec<&str> = rest.split(' ').collect();
            let (kind, formats) = (words.first(), words.get(3..).unwrap_or_default());
            format!("m={} {}", kind.unwrap_or(&""), formats.join(" "))
        }
        _ => line.to_owned(),
    })
    .collect()
}
