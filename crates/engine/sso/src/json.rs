//! JSON objects of tokens and of what surrounds them, read strictly: a name that stands twice makes
//! two readers disagree, so it is refused (RFC 7515 §4, RFC 7519 §4). Depth is `serde_json`'s 128.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object whose names are all different.
#[derive(Debug)]
pub(crate) struct Object(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if all.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Object(all))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

impl Object {
    /// Reads one, of at most `bytes_max`.
    pub(crate) fn read(bytes: &[u8], bytes_max: usize) -> Option<Object> {
        if bytes.len() > bytes_max {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// A time in seconds since 1970; fractions are cut off (RFC 7519 §2, NumericDate).
    pub(crate) fn seconds(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        let whole = |f: f64| (0.0..1e15).contains(&f).then_some(f as u64);
        value.as_u64().or_else(|| value.as_f64().and_then(whole))
    }

    /// One text, or a list of them.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        match self.0.get(name) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let read = |s: &str| Object::read(s.as_bytes(), 100);
        assert!(read(r#"{"a":1,"b":2}"#).is_some());
        for bad in [r#"{"a":1,"a":2}"#, "[]", "{", "1", "", r#"{"a":1}x"#] {
            assert!(read(bad).is_none(), "{bad}");
        }
        assert!(Object::read(br#"{"a":1}"#, 6).is_none());
        let times = read(r#"{"a":12.9,"b":-1,"c":1e300,"d":"9","e":7}"#).unwrap();
        let of = |n| times.seconds(n);
        assert_eq!(
            [of("a"), of("b"), of("c"), of("d"), of("e")],
            [Some(12), None, None, None, Some(7)]
        );
    }
}
