//! A registration taken out at call control by the core itself (RFC 3261 §10.2.2): its client is
//! not asked, and would not be heard.
//!
//! In: a row, before it goes. Out: a REGISTER that names the contact as it was registered, with
//! `expires=0`. It has a Call-ID of its own, so that call control's order of the client's REGISTERs
//! (§10.3, step 7) says nothing against it. Who sends it, and when, is the node's affair.

use base::Id;
use sip::{Message, Name, RequestBuilder};

use super::rewrite::{Address, USER_ID};
use super::table::Registrar;

impl Registrar {
    /// The REGISTER that ends a contact at call control; `None` for what is no registration of
    /// this process, or has a name that cannot be written.
    pub fn leave(&self, id: Id, at: &Address, tag: &str, call_id: &str) -> Option<Message> {
        let draft = &self.get(id).filter(|row| row.confirmed)?.draft;
        if !draft.registered {
            return None;
        }
        let host = draft.aor.rsplit_once('@')?.1;
        let odd = |text: &[u8]| text.iter().any(|b| *b <= b' ' || b"<>\"\\".contains(b));
        let texts = [
            draft.aor.as_bytes(),
            draft.contact.as_slice(),
            draft.reg_id.as_bytes(),
            draft.device.as_bytes(),
        ];
        let quoted = |text: &[u8]| text.iter().any(|b| *b < b' ' || b"\"\\".contains(b));
        if texts.iter().any(|text| odd(text)) || quoted(&draft.instance) {
            return None;
        }
        let uri = match draft.rewritten {
            true => self.inside_contact(id, at),
            false => draft.contact.clone(),
        };
        let mut contact = [&b"<"[..], uri.as_slice(), b">"].concat();
        let mut add = |name: &[u8], value: &[u8]| {
            if !value.is_empty() {
                contact.extend([&b";"[..], name, b"=\"", value, b"\""].concat());
            }
        };
        add(b"+sip.instance", &draft.instance);
        add(b"+u.sip!devicename.ccm.cisco.com", draft.device.as_bytes());
        if draft.rewritten {
            let user: String = draft.user.chars().filter(|c| !c.is_control()).collect();
            let user = user.replace(['"', '\\'], "");
            add(USER_ID, user.as_bytes());
        }
        if !draft.reg_id.is_empty() {
            contact.extend([&b";reg-id="[..], draft.reg_id.as_bytes()].concat());
        }
        contact.extend_from_slice(b";expires=0");
        let aor = draft.uri();
        let mut request = RequestBuilder::new("REGISTER", format!("sip:{host}").as_bytes())
            .header(Name::From, format!("<{aor}>;tag={tag}"))
            .header(Name::To, format!("<{aor}>"))
            .header(Name::CallId, call_id)
            .header(Name::CSeq, "1 REGISTER")
            .header(Name::MaxForwards, "70")
            .header(Name::Contact, contact);
        if !draft.rewritten {
            let path = format!("<{};lr>", at.uri(&self.token(id)));
            request = request
                .header(Name::Path, path)
                .header(Name::Supported, "path, outbound");
        }
        Some(request.header(Name::Expires, "0").build())
    }
}
