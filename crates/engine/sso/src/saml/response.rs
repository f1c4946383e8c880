//! A response, checked (saml-profiles-2.0 §4.1.4.3).
//!
//! Every signature there is must be good, and one must cover the assertion: its own, or that of the
//! response around it. A response that was not asked for is refused: it must name the request, and
//! since a request is forgotten with its first answer, none counts twice.

use std::time::Duration;

use base::{Pii, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

use super::signature::{self, SIGNATURE, SignatureError};
use super::xml::{elements, only, parse, text};
use super::{ASSERTION, PROTOCOL, Provider, RESPONSE_BYTES_MAX, Service, time};
use crate::bearer::{is_user, local_part, shortened};

/// The name of `uid` where providers name attributes by number (RFC 4519 §2.39).
const UID: &str = "urn:oid:0.9.2342.19200300.100.1.1";

/// What differs in an answer to another request.
const REQUEST: &str = "the request";

/// What a response must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who we are.
    pub service: &'a Service,
    /// Whose word counts.
    pub provider: &'a Provider,
    /// The request that it answers.
    pub request: &'a str,
    /// The attribute that names the user.
    pub attribute: &'a str,
    /// Where that is an address whose part before `@` is the user: the domains one of which must
    /// stand after it.
    pub local_part_of: &'a [String],
}

/// What a good response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// The user.
    pub user: Pii<String>,
    /// Until when the session may last, if the provider says.
    pub until: Option<UnixTime>,
}

/// Why a response is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// It cannot be read, or is not what a provider sends.
    #[error("the SAML response is malformed: {0}")]
    Malformed(&'static str),
    /// The provider refused the user.
    #[error("the identity provider answered with the status {0}")]
    Status(String),
    /// A signature does not count, or none covers the assertion.
    #[error("the SAML response is not the provider's: {0}")]
    Signature(String),
    /// It is of another provider.
    #[error("the SAML response is of {0:?}, not of the provider of the metadata")]
    Issuer(String),
    /// It is for another service, address or request.
    #[error("the SAML response is for {what} {found:?}, not ours")]
    Other {
        /// What differs.
        what: &'static str,
        /// What it names.
        found: String,
    },
    /// It came too late, or a clock is wrong.
    #[error("the SAML response was good until {ago_s} s ago, or a clock is wrong")]
    Expired {
        /// Seconds since.
        ago_s: u64,
    },
    /// A clock is wrong.
    #[error("the SAML response is good only in {in_s} s: a clock is wrong")]
    NotYet {
        /// Seconds until.
        in_s: u64,
    },
    /// It does not name the user.
    #[error("no {0} attribute in the assertion of the identity provider")]
    NoUser(String),
}

use ResponseError::Malformed;

impl From<SignatureError> for ResponseError {
    fn from(e: SignatureError) -> Self {
        ResponseError::Signature(e.to_string())
    }
}

impl ResponseError {
    /// Whether whoever brings it may be forging one.
    pub fn is_forged(&self) -> bool {
        matches!(self, Malformed(_) | ResponseError::Signature(_))
    }
}

/// Checks the `SAMLResponse` of a form; clocks may differ by `skew`.
///
/// # Errors
/// [`ResponseError`].
pub fn check(
    expected: &Expected<'_>,
    now: UnixTime,
    skew: Duration,
    encoded: &str,
) -> Result<Asserted, ResponseError> {
    if encoded.len() > RESPONSE_BYTES_MAX / 3 * 4 + 4 {
        return Err(Malformed("it is larger than 128 KiB"));
    }
    let text: String = encoded.split_ascii_whitespace().collect();
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| Malformed("it is no base64"))?;
    let xml = String::from_utf8(bytes).map_err(|_| Malformed("it is no UTF-8"))?;
    let document = parse(&xml).map_err(Malformed)?;
    let response = document.root_element();
    if !response.has_tag_name((PROTOCOL, "Response")) || version(response) != "2.0" {
        return Err(Malformed("it is no response of SAML 2.0"));
    }
    let check = Check {
        expected,
        now,
        skew,
    };
    // What answers another request is not worth the work that a signature makes.
    let request = response.attribute("InResponseTo");
    check.same(REQUEST, request, expected.request, true)?;
    let assertion = check.signed(response)?;
    check.envelope(response)?;
    let assertion = assertion.ok_or(Malformed("it holds no assertion"))?;
    check.assertion(assertion)
}

fn version<'a>(node: Node<'a, '_>) -> &'a str {
    node.attribute("Version").unwrap_or_default()
}

struct Check<'a> {
    expected: &'a Expected<'a>,
    now: UnixTime,
    skew: Duration,
}

impl Check<'_> {
    /// The assertion, if there is one, and only if a good signature covers it.
    fn signed<'n, 'i>(
        &self,
        response: Node<'n, 'i>,
    ) -> Result<Option<Node<'n, 'i>>, ResponseError> {
        let count = |namespace, name| {
            let all = response.descendants();
            all.filter(|n| n.has_tag_name((namespace, name))).count()
        };
        if count(ASSERTION, "EncryptedAssertion") > 0 {
            let cause = "its assertion is encrypted: switch encryption off for this service";
            return Err(Malformed(cause));
        }
        let assertion = only(response, ASSERTION, "Assertion").map_err(Malformed)?;
        if count(ASSERTION, "Assertion") != usize::from(assertion.is_some())
            || count(PROTOCOL, "Response") != 1
        {
            return Err(Malformed("it holds more than one assertion"));
        }
        let keys = &self.expected.provider.keys;
        let around = signature::check(response, keys)?;
        let own = match assertion {
            Some(assertion) => signature::check(assertion, keys)?,
            None => false,
        };
        if count(SIGNATURE, "Signature") != usize::from(around) + usize::from(own) {
            return Err(Malformed("a signature stands where none belongs"));
        }
        if assertion.is_some() && !around && !own {
            let cause = "nothing in it is signed: switch on that assertions are signed";
            return Err(ResponseError::Signature(cause.into()));
        }
        Ok(assertion)
    }

    fn envelope(&self, response: Node<'_, '_>) -> Result<(), ResponseError> {
        let service = self.expected.service;
        self.same(
            "the address",
            response.attribute("Destination"),
            &service.consumer,
            true,
        )?;
        if let Some(issuer) = only(response, ASSERTION, "Issuer").map_err(Malformed)? {
            self.issuer(issuer)?;
        }
        let status = only(response, PROTOCOL, "Status").map_err(Malformed)?;
        let mut codes = Vec::new();
        let mut at = status;
        while let Some(within) = at.filter(|_| codes.len() < 4) {
            at = only(within, PROTOCOL, "StatusCode").map_err(Malformed)?;
            codes.extend(at.and_then(|n| n.attribute("Value")));
        }
        if codes.first() == Some(&"urn:oasis:names:tc:SAML:2.0:status:Success") {
            return Ok(());
        }
        let last = |code: &&str| code.rsplit(':').next().map(shortened);
        let codes: Vec<String> = codes.iter().filter_map(last).collect();
        Err(ResponseError::Status(codes.join(", ")))
    }

    fn same(
        &self,
        what: &'static str,
        found: Option<&str>,
        want: &str,
        may_be_absent: bool,
    ) -> Result<(), ResponseError> {
        match found {
            Some(found) if found == want => Ok(()),
            None if may_be_absent => Ok(()),
            found => Err(ResponseError::Other {
                what,
                found: shortened(found.unwrap_or_default()),
            }),
        }
    }

    fn issuer(&self, issuer: Node<'_, '_>) -> Result<(), ResponseError> {
        let name = text(issuer).unwrap_or_default();
        if name.trim() == self.expected.provider.entity {
            Ok(())
        } else {
            Err(ResponseError::Issuer(shortened(&name)))
        }
    }

    fn assertion(&self, assertion: Node<'_, '_>) -> Result<Asserted, ResponseError> {
        let child = |of, name| only(of, ASSERTION, name).map_err(Malformed);
        if version(assertion) != "2.0" {
            return Err(Malformed("its assertion is not of SAML 2.0"));
        }
        let issuer = child(assertion, "Issuer")?;
        self.issuer(issuer.ok_or(Malformed("its assertion has no issuer"))?)?;
        let conditions = child(assertion, "Conditions")?;
        self.conditions(conditions.ok_or(Malformed("its assertion has no conditions"))?)?;
        let subject = child(assertion, "Subject")?;
        self.subject(subject.ok_or(Malformed("its assertion has no subject"))?)?;
        let statement = |n: &Node<'_, '_>| n.has_tag_name((ASSERTION, "AuthnStatement"));
        let mut statements = elements(assertion).filter(statement).peekable();
        if statements.peek().is_none() {
            return Err(Malformed(
                "its assertion does not say that the user signed in",
            ));
        }
        let mut until = None;
        for ends in statements.filter_map(|s| s.attribute("SessionNotOnOrAfter")) {
            let ends = self.not_after(Some(ends))?;
            until = Some(until.map_or(ends, |u: UnixTime| u.min(ends)));
        }
        Ok(Asserted {
            user: self.user(assertion)?,
            until,
        })
    }

    fn conditions(&self, conditions: Node<'_, '_>) -> Result<(), ResponseError> {
        self.not_before(conditions.attribute("NotBefore"))?;
        if let Some(end) = conditions.attribute("NotOnOrAfter") {
            self.not_after(Some(end))?;
        }
        let mut restricted = false;
        for condition in elements(conditions) {
            match condition.tag_name().name() {
                "AudienceRestriction" => {
                    restricted = true;
                    let all: Vec<String> = elements(condition).filter_map(text).collect();
                    let ours = |a: &String| a.trim() == self.expected.service.entity;
                    if !all.iter().any(ours) {
                        let (what, found) = ("the audience", shortened(&all.join(" ")));
                        return Err(ResponseError::Other { what, found });
                    }
                }
                "OneTimeUse" | "ProxyRestriction" => {}
                _ => return Err(Malformed("its assertion has a condition that is not known")),
            }
        }
        if restricted {
            Ok(())
        } else {
            Err(Malformed("its assertion names no audience"))
        }
    }

    /// Some confirmation must fit; why the last one does not is told.
    fn subject(&self, subject: Node<'_, '_>) -> Result<(), ResponseError> {
        let mut last = Malformed("its assertion has no bearer confirmation");
        let is = |n: &Node<'_, '_>| n.has_tag_name((ASSERTION, "SubjectConfirmation"));
        for confirmation in elements(subject).filter(is) {
            if confirmation.attribute("Method") != Some("urn:oasis:names:tc:SAML:2.0:cm:bearer") {
                continue;
            }
            let data = only(confirmation, ASSERTION, "SubjectConfirmationData");
            let data = data.map_err(Malformed)?;
            let Some(data) = data else { continue };
            match self.confirmation(data) {
                Ok(()) => return Ok(()),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn confirmation(&self, data: Node<'_, '_>) -> Result<(), ResponseError> {
        let consumer = &self.expected.service.consumer;
        self.same(
            "the recipient",
            data.attribute("Recipient"),
            consumer,
            false,
        )?;
        let request = data.attribute("InResponseTo");
        self.same(REQUEST, request, self.expected.request, false)?;
        self.not_before(data.attribute("NotBefore"))?;
        self.not_after(data.attribute("NotOnOrAfter")).map(|_| ())
    }

    fn not_before(&self, written: Option<&str>) -> Result<(), ResponseError> {
        let Some(written) = written else {
            return Ok(());
        };
        let from = time(written).ok_or(Malformed("a time is none"))?;
        if from > self.now.plus(self.skew) {
            let in_s = from.as_secs().saturating_sub(self.now.as_secs());
            return Err(ResponseError::NotYet { in_s });
        }
        Ok(())
    }

    fn not_after(&self, written: Option<&str>) -> Result<UnixTime, ResponseError> {
        let until = written.and_then(time).ok_or(Malformed("a time is none"))?;
        if until.plus(self.skew) <= self.now {
            let ago_s = self.now.as_secs().saturating_sub(until.as_secs());
            return Err(ResponseError::Expired { ago_s });
        }
        Ok(until)
    }

    fn user(&self, assertion: Node<'_, '_>) -> Result<Pii<String>, ResponseError> {
        let wanted = self.expected.attribute;
        let absent = || ResponseError::NoUser(wanted.to_owned());
        let is = |n: &Node<'_, '_>| n.has_tag_name((ASSERTION, "AttributeStatement"));
        let named = |n: &Node<'_, '_>| {
            let name = n.attribute("Name");
            name == Some(wanted) || (wanted == "uid" && name == Some(UID))
        };
        let statements = elements(assertion).filter(is);
        let mut found = statements.flat_map(elements).filter(named);
        let (Some(attribute), None) = (found.next(), found.next()) else {
            return Err(absent());
        };
        let value = only(attribute, ASSERTION, "AttributeValue").map_err(|_| absent())?;
        let user = value.and_then(text).ok_or_else(absent)?;
        let user = local_part(user.trim(), self.expected.local_part_of);
        if is_user(user) {
            Ok(Pii::new(user.to_owned()))
        } else {
            Err(absent())
        }
    }
}
