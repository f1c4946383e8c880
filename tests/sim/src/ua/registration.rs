//! A telephone's registration (RFC 3261 §10), refreshed and renewed.

use base::Rng;

use super::{SECOND, Setup, Tick, Ua};
use crate::text::Text;

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was tried.
    Idle,
    /// A REGISTER is under way.
    Trying,
    /// Registered.
    Up,
    /// Refused, with this status.
    Refused(u16),
    /// Unregistered.
    Gone,
}

/// A registration.
pub struct Registration {
    /// Whether it is to be kept up.
    pub wanted: bool,
    /// How it stands.
    pub standing: Standing,
    /// How often it was granted, refreshes included.
    pub granted: u32,
    /// What is asked for, in seconds.
    pub expires: u32,
    /// The Contact of the last 200, as it came back.
    pub echoed: String,
    /// The user part of the Contact.
    pub contact: String,
    pub(super) cseq: u32,
    call_id: String,
    instance: String,
    tag: String,
    due: u64,
}

impl Registration {
    pub(super) fn new(setup: &Setup, rng: &mut Rng) -> Registration {
        Registration {
            wanted: false,
            standing: Standing::Idle,
            granted: 0,
            expires: 3600,
            echoed: String::new(),
            contact: rng.hex(8),
            cseq: 100,
            call_id: format!("{}@{}", rng.hex(12), setup.media),
            instance: format!("<urn:uuid:00000000-0000-0000-0000-{}>", rng.hex(6)),
            tag: rng.hex(6),
            due: 0,
        }
    }
}

impl Ua {
    /// Registers, and stays registered.
    pub fn register(&mut self, now: u64) {
        self.registration.wanted = true;
        self.send_register(now, self.registration.expires);
    }

    /// Unregisters.
    pub fn unregister(&mut self, now: u64) {
        self.registration.wanted = false;
        if self.linked && self.registration.standing != Standing::Idle {
            self.send_register(now, 0);
        }
    }

    fn send_register(&mut self, now: u64, expires: u32) {
        let at = self.setup.clone();
        let row = &mut self.registration;
        row.cseq += 1;
        row.standing = Standing::Trying;
        let (cseq, call_id) = (row.cseq, row.call_id.clone());
        let (tag, instance) = (row.tag.clone(), row.instance.clone());
        let address = format!("<sip:{}@{}>", at.number, at.domain);
        let contact = self.contact();
        let device = at.name.to_ascii_uppercase();
        let request = Text::request("REGISTER", &format!("sip:{}", at.domain))
            .with("From", format!("{address};tag={tag}"))
            .with("To", address)
            .with("Call-ID", call_id)
            .with("CSeq", format!("{cseq} REGISTER"))
            .with("Max-Forwards", "70")
            .with(
                "Contact",
                format!(
                    "{contact};+sip.instance=\"{instance}\";\
                     +u.sip!devicename.ccm.cisco.com=\"CSF{device}\";\
                     +u.sip!model.ccm.cisco.com=\"503\""
                ),
            )
            .with("Supported", "replaces, X-cisco-callinfo, X-cisco-sis-7.0.0")
            .with("User-Agent", "sim")
            .with("Expires", expires.to_string());
        self.send(now, request, None, false);
    }

    /// The final answer to a REGISTER, or to one that took the registration out.
    pub(super) fn registered(&mut self, now: u64, text: &Text, status: u16, leaving: bool) {
        if status >= 300 {
            let after = text.field("Retry-After").parse::<u64>().ok();
            return self.registration_failed(now, status, after);
        }
        let row = &mut self.registration;
        if leaving {
            row.standing = if row.wanted {
                Standing::Trying
            } else {
                Standing::Gone
            };
            return;
        }
        row.standing = Standing::Up;
        row.granted += 1;
        row.echoed = text.field("Contact").to_owned();
        let of_contact = row.echoed.split(";expires=").nth(1);
        let granted = of_contact
            .and_then(|e| e.split(';').next())
            .unwrap_or(text.field("Expires"));
        let granted: u64 = granted.trim().parse().unwrap_or(0);
        if granted < 10 {
            return self.find(format!("registered for {granted} s"));
        }
        self.due_at(now + (granted - 5) * SECOND);
        self.hang_up_late(now);
        self.tell_of_move(now);
    }

    pub(super) fn registration_failed(&mut self, now: u64, status: u16, after: Option<u64>) {
        self.registration.standing = Standing::Refused(status);
        // A wrong password is not tried again.
        if self.registration.wanted && !matches!(status, 401 | 403 | 407) {
            let wait = after.unwrap_or(5) * SECOND;
            self.due_at(now + wait);
        }
    }

    fn due_at(&mut self, at: u64) {
        self.registration.due = at;
        self.arm(at, Tick::Register);
    }

    pub(super) fn register_due(&mut self, now: u64) {
        let row = &self.registration;
        if row.wanted && row.due == now && self.linked {
            self.send_register(now, self.registration.expires);
        }
    }

    pub(super) fn registration_connected(&mut self, now: u64) {
        if self.registration.wanted {
            self.send_register(now, self.registration.expires);
        }
    }

    pub(super) fn registration_disconnected(&mut self, _now: u64) {
        if self.registration.standing != Standing::Idle {
            self.registration.standing = Standing::Gone;
        }
    }
}
