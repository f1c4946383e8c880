//! Flow tokens (RFC 5626 §5.2): they name a slot and its generation under a MAC, so that nobody
//! else can make one, none outlives its flow, and none tells an address.

use base::{Id, Rng};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const TAG_BYTES: usize = 10;

/// A flow's name for people, `slot.generation`: the same from the flow and from its token, whose
/// MAC is not looked at. Empty for what is no token of a flow.
pub fn label(token: &[u8]) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let numbers = bytes.split_first_chunk::<4>();
    let generation = numbers.and_then(|(_, rest)| rest.first_chunk::<4>());
    match (numbers, generation) {
        (Some((slot, rest)), Some(generation)) if rest.len() == 4 + TAG_BYTES => {
            let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
            format!("{}.{}", number(slot), number(generation))
        }
        _ => String::new(),
    }
}

/// A flow's name for people.
pub fn label_of(flow: Id) -> String {
    format!("{}.{}", flow.slot(), flow.generation())
}

/// Sixteen bytes that stand for a list of texts in a table: nobody finds another list for them.
pub fn fingerprint(texts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(whole) {
        *to = from;
    }
    half
}

/// Makes and opens flow tokens; one per process.
///
/// A key that was changed ([`TokenKey::rotate`]) opens what it made before the last change, and
/// nothing from before that: a token is worth something for one to two times the interval of
/// changes. Routes of a dialog are tokens that are never made anew, so the interval bounds how long
/// a dialog lasts.
pub struct TokenKey {
    now: Key,
    before: Option<Key>,
}

/// HMAC that has taken in its key and what all tags begin with: half of the work of a tag.
struct Key(Option<Hmac<Sha256>>);

impl Key {
    fn of(key: &[u8; 32]) -> Key {
        // HMAC takes keys of any length, so this cannot fail.
        let mac = Hmac::<Sha256>::new_from_slice(key).ok();
        Key(mac.map(|mac| mac.chain_update(b"flow")))
    }

    fn tag(&self, body: &[u8]) -> [u8; TAG_BYTES] {
        let mut out = [0; TAG_BYTES];
        if let Some(mac) = &self.0 {
            let tag = mac.clone().chain_update(body).finalize().into_bytes();
            out.copy_from_slice(tag.get(..TAG_BYTES).unwrap_or(&[0; TAG_BYTES]));
        }
        out
    }
}

impl TokenKey {
    /// A fresh key.
    pub fn new(rng: &mut Rng) -> Self {
        TokenKey {
            now: Key::of(&rng.array()),
            before: None,
        }
    }

    /// Makes tokens with a fresh key from now on; those of the last one are still opened.
    pub fn rotate(&mut self, rng: &mut Rng) {
        self.before = Some(std::mem::replace(&mut self.now, Key::of(&rng.array())));
    }

    /// A key that is the same for the same secret and purpose, so that tokens survive a restart.
    pub fn derived(secret: &[u8; 32], purpose: &[u8]) -> Self {
        let mut key = [0; 32];
        // HMAC takes keys of any length, so this cannot fail.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
            mac.update(b"token key");
            mac.update(purpose);
            key.copy_from_slice(&mac.finalize().into_bytes());
        }
        TokenKey {
            now: Key::of(&key),
            before: None,
        }
    }

    /// A token of any content: base64url of the content and a tag of 10 bytes.
    pub fn seal_bytes(&self, content: &[u8]) -> String {
        let tag = self.now.tag(content);
        URL_SAFE_NO_PAD.encode([content, &tag].concat())
    }

    /// What a token of [`TokenKey::seal_bytes`] says, if we made it.
    pub fn open_bytes(&self, token: &[u8]) -> Option<Vec<u8>> {
        if token.len() > 512 {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let at = bytes.len().checked_sub(TAG_BYTES)?;
        let (content, tag) = bytes.split_at_checked(at)?;
        let ours = self.made(content, tag);
        bytes.truncate(at);
        ours.then_some(bytes)
    }

    /// The token of a flow: 24 characters of base64url.
    pub fn seal(&self, flow: Id) -> String {
        let mut bytes = [0; 8 + TAG_BYTES];
        let (slot, generation) = (flow.slot().to_be_bytes(), flow.generation().to_be_bytes());
        let (body, tag) = bytes.split_at_mut(8);
        for (to, from) in body.iter_mut().zip(slot.into_iter().chain(generation)) {
            *to = from;
        }
        tag.copy_from_slice(&self.now.tag(body));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The flow a token names, if we made it.
    pub fn open(&self, token: &[u8]) -> Option<Id> {
        if token.len() != 24 {
            return None;
        }
        // What is decoded at a time may be written in full, so there is room for more than comes.
        let mut bytes = [0; 24];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
        let (body, tag) = bytes.get(..length)?.split_at_checked(8)?;
        let (slot, generation) = body.split_at_checked(4)?;
        let word = |b: &[u8]| b.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        let ours = self.made(body, tag);
        ours.then_some(Id::new(word(slot)?, word(generation)?))
    }

    /// Whether one of the keys made a tag.
    fn made(&self, body: &[u8], found: &[u8]) -> bool {
        let keys = std::iter::once(&self.now).chain(&self.before);
        keys.fold(subtle::Choice::from(0), |any, key| {
            any | key.tag(body).ct_eq(found)
        })
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_derived_key_outlives_the_process() {
        let token = TokenKey::derived(&[1; 32], b"x").seal_bytes(b"content");
        let again = TokenKey::derived(&[1; 32], b"x");
        assert_eq!(
            again.open_bytes(token.as_bytes()),
            Some(b"content".to_vec())
        );
        for other in [
            TokenKey::derived(&[2; 32], b"x"),
            TokenKey::derived(&[1; 32], b"y"),
        ] {
            assert_eq!(other.open_bytes(token.as_bytes()), None);
        }
        assert_eq!(again.open_bytes(b""), None);
    }

    #[test]
    fn a_token_outlives_one_change_of_the_key_and_not_two() {
        let mut rng = Rng::from_number(1);
        let mut key = TokenKey::new(&mut rng);
        let old = key.seal(Id::new(7, 9));
        let content = key.seal_bytes(b"content");
        key.rotate(&mut rng);
        let new = key.seal(Id::new(7, 9));
        assert_ne!(old, new);
        assert_eq!(key.open(old.as_bytes()), Some(Id::new(7, 9)));
        assert!(key.open_bytes(content.as_bytes()).is_some());
        key.rotate(&mut rng);
        assert_eq!(key.open(new.as_bytes()), Some(Id::new(7, 9)));
        assert_eq!(key.open(old.as_bytes()), None);
        assert_eq!(key.open_bytes(content.as_bytes()), None);
    }

    #[test]
    fn a_token_names_its_flow_and_cannot_be_made_by_others() {
        let mut rng = Rng::from_number(1);
        let (ours, theirs) = (TokenKey::new(&mut rng), TokenKey::new(&mut rng));
        let flow = Id::new(7, 9);
        let token = ours.seal(flow);
        assert_eq!((token.len(), ours.open(token.as_bytes())), (24, Some(flow)));
        assert_eq!(theirs.open(token.as_bytes()), None);
        for i in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.open(&forged), None, "byte {i}");
        }
    }
}
