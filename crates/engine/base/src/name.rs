//! Host and domain names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// More than 253 characters in all, or more than 63 in a label.
    TooLong,
    /// An underscore: RFC 952 and 1123 allow letters, digits and hyphens in host names only,
    /// and names with an underscore break certificates and tunnels.
    Underscore,
    /// Another character that is no letter, digit, hyphen or dot.
    Character(char),
    /// A label that is empty, or begins or ends with a hyphen.
    Label,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("the name is empty"),
            NameError::TooLong => {
                f.write_str("the name is longer than 253 characters, or a label longer than 63")
            }
            NameError::Underscore => f.write_str(
                "the name has an underscore; host names may have letters, digits and hyphens only",
            ),
            NameError::Character(c) => {
                write!(
                    f,
                    "the name has {c:?}; host names may have letters, digits and hyphens only"
                )
            }
            NameError::Label => f.write_str("a label is empty, or begins or ends with a hyphen"),
        }
    }
}

impl std::error::Error for NameError {}

fn check(name: &str) -> Result<String, NameError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > 253 {
        return Err(NameError::TooLong);
    }
    for label in name.split('.') {
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Label);
        }
        if label.len() > 63 {
            return Err(NameError::TooLong);
        }
        for c in label.chars() {
            match c {
                '_' => return Err(NameError::Underscore),
                c if c.is_ascii_alphanumeric() || c == '-' => {}
                c => return Err(NameError::Character(c)),
            }
        }
    }
    Ok(name.to_ascii_lowercase())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name, in lower case, without a final dot.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(s: &str) -> Result<Self, NameError> {
                check(s).map($type)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(s: String) -> Result<Self, NameError> {
                s.parse()
            }
        }

        impl From<$type> for String {
            fn from(n: $type) -> String {
                n.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// A DNS domain (RFC 1123 §2.1), in lower case, without a final dot.
    DomainName
}
name! {
    /// A host's name, bare or fully qualified (RFC 952, RFC 1123 §2.1), in lower case.
    HostName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_lower_cased() {
        let table: [(&str, Result<&str, NameError>); 8] = [
            ("Edge1.Example.COM.", Ok("edge1.example.com")),
            ("edge_1", Err(NameError::Underscore)),
            ("", Err(NameError::Empty)),
            ("-a.example", Err(NameError::Label)),
            ("a..b", Err(NameError::Label)),
            ("a b", Err(NameError::Character(' '))),
            ("ä.example", Err(NameError::Character('ä'))),
            ("xn--4ca.example", Ok("xn--4ca.example")),
        ];
        for (input, want) in table {
            assert_eq!(
                input.parse::<HostName>().map(String::from),
                want.map(str::to_owned),
                "{input}"
            );
        }
    }
}
