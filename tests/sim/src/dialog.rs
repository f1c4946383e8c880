//! A dialog as a phone keeps it (RFC 3261 §12), on text.

use crate::text::Text;

/// One side of a dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// The Call-ID.
    pub call_id: String,
    /// Our From, or To, with our tag.
    pub local: String,
    /// Theirs.
    pub remote: String,
    /// Where requests go: their Contact.
    pub target: String,
    /// Routes to follow, the first hop first, with angle brackets.
    pub routes: Vec<String>,
    /// Our last CSeq number.
    pub cseq: u32,
}

/// The values of a field that may hold several, split at commas outside of brackets and quotes.
pub fn values<'a>(text: &'a Text, name: &'a str) -> Vec<&'a str> {
    let mut out = Vec::new();
    for value in text.all(name) {
        let (mut depth, mut quoted, mut from) = (0i32, false, 0);
        for (i, c) in value.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '<' if !quoted => depth += 1,
                '>' if !quoted => depth -= 1,
                ',' if !quoted && depth == 0 => {
                    out.push(value[from..i].trim());
                    from = i + 1;
                }
                _ => {}
            }
        }
        out.push(value[from..].trim());
    }
    out
}

/// The number of a CSeq.
pub fn cseq(text: &Text) -> u32 {
    text.field("CSeq")
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// The branch of the topmost Via.
pub fn branch(text: &Text) -> &str {
    let via = values(text, "Via").first().copied().unwrap_or("");
    via.split(";branch=")
        .nth(1)
        .map_or("", |b| b.split(';').next().unwrap_or(b))
}

impl Dialog {
    /// Of the one who sent the INVITE.
    pub fn caller(request: &Text, response: &Text) -> Dialog {
        Dialog {
            call_id: request.field("Call-ID").to_owned(),
            local: request.field("From").to_owned(),
            remote: response.field("To").to_owned(),
            target: Text::inside_brackets(response.field("Contact")).to_owned(),
            routes: values(response, "Record-Route")
                .iter()
                .rev()
                .map(|r| (*r).to_owned())
                .collect(),
            cseq: cseq(request),
        }
    }

    /// Of the one who got it and answers with `tag`.
    pub fn callee(request: &Text, tag: &str) -> Dialog {
        Dialog {
            call_id: request.field("Call-ID").to_owned(),
            local: format!("{};tag={tag}", request.field("To")),
            remote: request.field("From").to_owned(),
            target: Text::inside_brackets(request.field("Contact")).to_owned(),
            routes: values(request, "Record-Route")
                .iter()
                .map(|r| (*r).to_owned())
                .collect(),
            cseq: 0,
        }
    }

    /// Whether a message from the other side belongs to it.
    pub fn matches(&self, message: &Text) -> bool {
        let (ours, theirs) = match message.status() {
            None => (message.field("To"), message.field("From")),
            Some(_) => (message.field("From"), message.field("To")),
        };
        message.field("Call-ID") == self.call_id
            && Text::tag(ours) == Text::tag(&self.local)
            && Text::tag(theirs) == Text::tag(&self.remote)
    }

    /// Our next request; the caller adds the Via.
    pub fn request(&mut self, method: &str) -> Text {
        self.cseq += 1;
        self.with_cseq(method, self.cseq)
    }

    /// A request under a number of an earlier one: an ACK.
    pub fn with_cseq(&self, method: &str, cseq: u32) -> Text {
        let mut out = Text::request(method, &self.target);
        for route in &self.routes {
            out = out.with("Route", route.clone());
        }
        out.with("From", self.local.clone())
            .with("To", self.remote.clone())
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{cseq} {method}"))
            .with("Max-Forwards", "70")
    }
}
