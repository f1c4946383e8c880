//! What a client is told of its registration: the registrar's answer, without what leads inside,
//! and with an interval that keeps its connection. Bounds: the settings' longest interval;
//! shortened by half at most.

use sip::{Message, Name};

use super::super::seconds;
use super::EdgeRelay;

/// Intervals below this are told as they are.
const SPREAD_FROM_S: u32 = 60;

impl EdgeRelay {
    /// An answer to a REGISTER as the client gets it: what leads inside is taken out, and a long
    /// interval is cut so that the client's refreshes keep its connection. What it is told is
    /// shorter than that by `spread` percent.
    pub fn answer(&self, response: &Message, spread: u32) -> Message {
        let mut edit = response.edit();
        if (200..300).contains(&response.status()) {
            let told = |granted: u32| self.told(granted, spread);
            if let Some(granted) = response.expires().ok().flatten()
                && told(granted) != granted
            {
                edit.set(Name::Expires, told(granted).to_string());
            }
            for field in response.fields().filter(|f| f.id == Name::Contact) {
                if let Some(value) = shortened(response, field.value, told) {
                    edit.replace_field(field.index, value);
                }
            }
        }
        edit.remove(Name::Path)
            .remove(Name::ServiceRoute)
            .remove(Name::RecordRoute);
        edit.finish()
    }

    /// The interval that a client is told.
    fn told(&self, granted: u32, spread: u32) -> u32 {
        let told = granted.min(self.settings.refresh_max_s);
        // A short one has been made short for a reason.
        match told >= SPREAD_FROM_S {
            true => told - told * spread.min(50) / 100,
            false => told,
        }
    }
}

/// A Contact field with `expires` parameters as they are told; `None` if they are.
fn shortened(response: &Message, field: &[u8], told: impl Fn(u32) -> u32) -> Option<Vec<u8>> {
    let start = field.as_ptr() as usize;
    let mut out = field.to_vec();
    let mut changed = false;
    let contacts: Vec<_> = response.contacts().filter_map(Result::ok).collect();
    // From the last to the first, so that what is changed moves nothing that is still to come.
    for contact in contacts.iter().rev() {
        let sip::Contact::Address(address) = contact else {
            continue;
        };
        let Some((value, granted)) = address
            .param(b"expires")
            .and_then(|v| Some((v, seconds(v)?)))
        else {
            continue;
        };
        let Some(at) = (value.as_ptr() as usize).checked_sub(start) else {
            continue;
        };
        if told(granted) != granted && at + value.len() <= field.len() {
            let new = told(granted).to_string().into_bytes();
            out.splice(at..at + value.len(), new);
            changed = true;
        }
    }
    changed.then_some(out)
}
