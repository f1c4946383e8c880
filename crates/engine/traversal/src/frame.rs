//! Frames: a 32-bit length in network order, then that many bytes of JSON.

use crate::{FRAME_BYTES_MAX, Fault, Message};

/// Writes one message as a frame.
pub fn encode(message: &Message) -> Vec<u8> {
    let body = serde_json::to_vec(message).unwrap_or_default();
    let mut out = Vec::with_capacity(4 + body.len());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// Takes a byte stream apart into messages; the same messages for every chunking.
///
/// Holds at most one frame, [`FRAME_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Takes bytes from the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`Fault::Malformed`] for a frame that is too long or no message; the connection is to end.
    pub fn next_message(&mut self) -> Result<Option<Message>, Fault> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Fault::Malformed(format!("a frame of {length} bytes")));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body).map_err(|e| Fault::Malformed(e.to_string()))?;
        self.taken += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::UnixTime;

    #[test]
    fn frames_survive_any_chunking() {
        let messages = [
            Message::Ping {
                sequence: 1,
                clock: UnixTime::from_millis(5),
            },
            Message::Bye {
                reason: "über".into(),
            },
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
        for chunk in 1..=bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(chunk) {
                decoder.push(part);
                while let Some(m) = decoder.next_message().unwrap() {
                    seen.push(m);
                }
            }
            assert_eq!(seen, messages, "chunks of {chunk}");
        }
    }

    #[test]
    fn a_later_message_is_passed_over_and_garbage_ends_the_link() {
        let frame = |json: &[u8]| {
            let mut v = (json.len() as u32).to_be_bytes().to_vec();
            v.extend_from_slice(json);
            v
        };
        let mut d = Decoder::default();
        d.push(&frame(br#"{"message":"from-the-future","x":1}"#));
        assert_eq!(d.next_message(), Ok(Some(Message::Unknown)));
        d.push(&frame(b"{"));
        assert!(matches!(d.next_message(), Err(Fault::Malformed(_))));
        let mut d = Decoder::default();
        d.push(&[0xff; 8]);
        assert!(matches!(d.next_message(), Err(Fault::Malformed(_))));
    }
}
