//! What call control's refusal of a REGISTER says to an administrator, and what a message that is
//! too large for its receiver says.
//!
//! In: its answer. Out: one event, told at a bounded pace. 405 from a node of Unified CM is a SIP
//! trunk's word: it listens where the phones register, and takes no registrations (F342). Other
//! refusals go with the text of the answer's Warning (RFC 3261 §20.43), where Unified CM says
//! why; it is hidden where it names the user, a line or a device. Bounds: [`WARNING_MAX`].

use base::{Now, Pii};
use sip::{FlowId, Message, Name};
use status::Kind;

use super::Core;

/// Characters of a Warning that are told.
const WARNING_MAX: usize = 200;

impl Core {
    /// What we made of a message is more than its receiver takes.
    pub(super) fn too_large(&mut self, now: Now, flow: FlowId, message: &Message) {
        let target = self.station.flows.get(flow).and_then(|f| f.target());
        let receiver = target.map_or_else(|| "the edge".to_owned(), |t| t.host.clone());
        let proof = [("receiver", receiver)];
        let (out, cause) = (&mut self.station.out, message.measure());
        self.board
            .stranger(out, Kind::MessageTooLarge, now, &cause, &proof);
    }

    /// Call control refuses a registration of `user` in a zone; `names` are those of persons in it.
    pub(super) fn register_refused(
        &mut self,
        now: Now,
        zone: &str,
        user: &str,
        names: &[String],
        response: &Message,
    ) {
        let status = response.status();
        let mut proof = vec![
            ("user", Pii::new(user).to_string()),
            ("zone", zone.to_owned()),
            ("status", status.to_string()),
        ];
        if let Some(text) = warning(response) {
            let names = names.iter().map(String::as_str).chain([user]);
            let shown = match is_personal(&text, names) {
                true => Pii::new(text).to_string(),
                false => text,
            };
            proof.push(("warning", shown));
        }
        let trunk = self.zone(zone).is_some_and(|z| z.unified_cm);
        let (kind, cause) = match status {
            405 if trunk => (
                Kind::PortConflict,
                "call control answers 405 to a REGISTER: a SIP trunk takes what comes to the port"
                    .to_owned(),
            ),
            // A 503 has become 500 on its way (RFC 3261 §16.7).
            500 => (
                Kind::RegistrarRefused,
                "call control answers 500 or 503, or its connection broke".to_owned(),
            ),
            _ => (
                Kind::RegistrarRefused,
                format!("call control answers {status}"),
            ),
        };
        self.board
            .stranger(&mut self.station.out, kind, now, &cause, &proof);
    }
}

/// The text of the first Warning, without control characters.
fn warning(response: &Message) -> Option<String> {
    let value = String::from_utf8_lossy(response.header(Name::Warning)?).into_owned();
    let text = value.split_once('"').map_or(value.as_str(), |(_, text)| {
        text.rsplit_once('"').map_or(text, |(text, _)| text)
    });
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = text.take(WARNING_MAX).collect();
    (!text.trim().is_empty()).then_some(text)
}

/// Whether a text names one of these, or anybody by an address.
fn is_personal<'n>(text: &str, mut names: impl Iterator<Item = &'n str>) -> bool {
    let text = text.to_lowercase();
    text.contains('@') || names.any(|n| !n.is_empty() && text.contains(&n.to_lowercase()))
}
