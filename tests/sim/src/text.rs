//! SIP as the simulated phones and call control see it: plain text, taken apart with string
//! functions alone, so that a misreading of the product's parser is not mirrored here.

/// One SIP message as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The first line.
    pub start: String,
    /// Name and value of each header field, in order.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Text {
    /// A request.
    pub fn request(method: &str, uri: &str) -> Text {
        Text {
            start: format!("{method} {uri} SIP/2.0"),
            fields: Vec::new(),
            body: String::new(),
        }
    }

    /// The response to a request, with what RFC 3261 §8.2.6 has copied.
    pub fn response(request: &Text, status: u16, reason: &str, to_tag: &str) -> Text {
        let mut out = Text {
            start: format!("SIP/2.0 {status} {reason}"),
            fields: Vec::new(),
            body: String::new(),
        };
        for (name, value) in &request.fields {
            let lower = name.to_ascii_lowercase();
            if ["via", "from", "call-id", "cseq", "record-route"].contains(&lower.as_str()) {
                out.fields.push((name.clone(), value.clone()));
            } else if lower == "to" {
                let tagged = value.contains(";tag=") || status == 100;
                let tag = if tagged {
                    String::new()
                } else {
                    format!(";tag={to_tag}")
                };
                out.fields.push((name.clone(), format!("{value}{tag}")));
            }
        }
        out
    }

    /// Adds a field at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Text {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, kind: &str, body: impl Into<String>) -> Text {
        self.fields.push(("Content-Type".into(), kind.to_owned()));
        self.body = body.into();
        self
    }

    /// The first field of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The first field of that name, or nothing.
    pub fn field(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// All fields of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The method of a request, or of a response's CSeq.
    pub fn method(&self) -> &str {
        if self.status().is_some() {
            self.field("CSeq").split(' ').nth(1).unwrap_or("")
        } else {
            self.start.split(' ').next().unwrap_or("")
        }
    }

    /// The request URI.
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The tag of a From or To value.
    pub fn tag(value: &str) -> Option<&str> {
        value
            .split(";tag=")
            .nth(1)
            .map(|t| t.split(';').next().unwrap_or(t))
    }

    /// What stands between the angle brackets.
    pub fn inside_brackets(value: &str) -> &str {
        let after = value.split('<').nth(1).unwrap_or(value);
        after.split('>').next().unwrap_or(after)
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.start);
        for (name, value) in &self.fields {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str(&format!(
            "Content-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        ));
        out.into_bytes()
    }

    /// Takes the first whole message from the front of `buffer`.
    pub fn take(buffer: &mut Vec<u8>) -> Option<Text> {
        while buffer.starts_with(b"\r\n") {
            buffer.drain(..2);
        }
        // Lengths count bytes, and not every byte is UTF-8.
        let end = buffer.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let fields: Vec<(String, String)> = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()))
            .collect();
        let length = fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case("content-length") || n == "l")
            .and_then(|(_, v)| v.parse::<usize>().ok())
            .unwrap_or(0);
        let whole = end + 4 + length;
        if buffer.len() < whole {
            return None;
        }
        let body = String::from_utf8_lossy(buffer.get(end + 4..whole)?).into_owned();
        buffer.drain(..whole);
        let fields = fields
            .into_iter()
            .filter(|(n, _)| !n.eq_ignore_ascii_case("content-length"))
            .collect();
        Some(Text {
            start,
            fields,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_one_by_one() {
        let a = Text::request("OPTIONS", "sip:a@b")
            .with("CSeq", "1 OPTIONS")
            .with_body("t/p", "hé");
        let mut buffer = [a.to_bytes(), b"\r\n\r\n".to_vec(), a.to_bytes()].concat();
        assert_eq!(Text::take(&mut buffer).as_ref(), Some(&a));
        assert_eq!(Text::take(&mut buffer).as_ref(), Some(&a));
        assert_eq!(Text::take(&mut buffer), None);
        assert_eq!(a.method(), "OPTIONS");
    }
}
