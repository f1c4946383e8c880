//! Responses signed by a provider of our own making, and what an attacker makes of them.

mod wrapping;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::response::{Asserted, Expected, ResponseError, check};
use super::xml::{canonical, parse};
use super::*;

const ENTITY: &str = "https://idp.test/metadata";
const CONSUMER: &str = "https://edge1.example.test:8443/ZXhhbXBsZS50ZXN0/fedlet";

/// 2023-11-14T22:13:20Z.
const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);
const SKEW: Duration = Duration::from_secs(30);

/// A provider with its key.
struct Idp {
    key: RsaKeyPair,
    provider: Provider,
}

fn idp() -> Idp {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["idp.test".into()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    let text = STANDARD.encode(certificate.der());
    let metadata = format!(
        "<md:EntityDescriptor xmlns:md=\"{METADATA}\" entityID=\"{ENTITY}\"><md:IDPSSODescriptor \
         protocolSupportEnumeration=\"{PROTOCOL}\"><md:KeyDescriptor use=\"signing\"><ds:KeyInfo \
         xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:X509Data><ds:X509Certificate>{text}\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\
         <md:SingleSignOnService Binding=\"{POST}\" Location=\"https://idp.test/post\"/>\
         <md:SingleSignOnService Binding=\"{REDIRECT}\" Location=\"https://idp.test/sso?a=b\"/>\
         </md:IDPSSODescriptor></md:EntityDescriptor>"
    );
    Idp {
        key: RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(),
        provider: Provider::read(&metadata).unwrap(),
    }
}

fn service() -> Service {
    Service {
        entity: "example.test--0123456789ABCDEF".into(),
        consumer: CONSUMER.into(),
    }
}

/// An assertion without a signature; `{sig}` is where one goes.
fn assertion(id: &str, user: &str) -> String {
    format!(
        "<saml:Assertion xmlns:saml=\"{ASSERTION}\" ID=\"{id}\" Version=\"2.0\" \
         IssueInstant=\"2023-11-14T22:13:20Z\"><saml:Issuer>{ENTITY}</saml:Issuer>{{sig}}\
         <saml:Subject><saml:NameID>x</saml:NameID><saml:SubjectConfirmation \
         Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml:SubjectConfirmationData \
         InResponseTo=\"_r1\" NotOnOrAfter=\"2023-11-14T22:18:20Z\" Recipient=\"{CONSUMER}\"/>\
         </saml:SubjectConfirmation></saml:Subject><saml:Conditions \
         NotBefore=\"2023-11-14T22:13:00Z\" NotOnOrAfter=\"2023-11-14T22:18:20Z\">\
         <saml:AudienceRestriction><saml:Audience>example.test--0123456789ABCDEF</saml:Audience>\
         </saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement \
         AuthnInstant=\"2023-11-14T22:13:20Z\" SessionNotOnOrAfter=\"2023-11-15T06:13:20.5Z\">\
         <saml:AuthnContext/></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute \
         Name=\"uid\"><saml:AttributeValue>{user}</saml:AttributeValue></saml:Attribute>\
         </saml:AttributeStatement></saml:Assertion>"
    )
}

/// A response around `within`; `{sig}` is where a signature of its own goes.
fn response(id: &str, within: &str) -> String {
    format!(
        "<samlp:Response xmlns:samlp=\"{PROTOCOL}\" xmlns:saml=\"{ASSERTION}\" ID=\"{id}\" \
         Version=\"2.0\" Destination=\"{CONSUMER}\" InResponseTo=\"_r1\"><saml:Issuer>{ENTITY}\
         </saml:Issuer>{{sig}}<samlp:Status><samlp:StatusCode \
         Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>{within}\
         </samlp:Response>"
    )
}

/// Signs the outermost element: puts a signature where `{sig}` stands first.
fn sign(idp: &Idp, element: &str) -> String {
    let plain = element.replacen("{sig}", "", 1);
    let document = parse(&plain).unwrap();
    let root = document.root_element();
    let id = root.attribute("ID").unwrap();
    let bytes = canonical(root, None, &[]).unwrap();
    let value = STANDARD.encode(digest(&SHA256, &bytes));
    let dsig = "http://www.w3.org/2000/09/xmldsig#";
    let info = format!(
        "<ds:SignedInfo xmlns:ds=\"{dsig}\"><ds:CanonicalizationMethod \
         Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\">\
         </ds:SignatureMethod><ds:Reference URI=\"#{id}\"><ds:Transforms><ds:Transform \
         Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
         <ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform>\
         </ds:Transforms><ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\">\
         </ds:DigestMethod><ds:DigestValue>{value}</ds:DigestValue></ds:Reference>\
         </ds:SignedInfo>"
    );
    let mut signature = vec![0; 256];
    let random = SystemRandom::new();
    idp.key
        .sign(&RSA_PKCS1_SHA256, &random, info.as_bytes(), &mut signature)
        .unwrap();
    let value = STANDARD.encode(signature);
    let whole = format!(
        "<ds:Signature xmlns:ds=\"{dsig}\">{info}<ds:SignatureValue>{value}</ds:SignatureValue>\
         </ds:Signature>"
    );
    element.replacen("{sig}", &whole, 1)
}

fn judge(idp: &Idp, xml: &str, at: UnixTime) -> Result<Asserted, ResponseError> {
    let expected = Expected {
        service: &service(),
        provider: &idp.provider,
        request: "_r1",
        attribute: "uid",
        local_part_of: &[],
    };
    check(&expected, at, SKEW, &STANDARD.encode(xml))
}

/// A response with a signed assertion.
fn good(idp: &Idp, assertion: &str) -> String {
    response("_p1", &sign(idp, assertion)).replace("{sig}", "")
}

#[test]
fn a_signed_assertion_or_a_signed_response_or_both_name_the_user() {
    let idp = idp();
    let alice = assertion("_a1", "alice");
    let of_both = sign(&idp, &response("_p1", &alice.replace("{sig}", "")));
    for xml in [good(&idp, &alice), of_both] {
        let found = judge(&idp, &xml, NOW).unwrap();
        assert_eq!(found.user.expose(), "alice");
        assert_eq!(found.until.unwrap().as_secs(), 1_700_028_800);
    }
    let inner = sign(&idp, &alice);
    let both = sign(&idp, &response("_p1", &inner));
    assert!(judge(&idp, &both, NOW).is_ok());
    let by_number = alice.replace("\"uid\"", "\"urn:oid:0.9.2342.19200300.100.1.1\"");
    assert!(judge(&idp, &good(&idp, &by_number), NOW).is_ok());
}

/// One change to what is signed, by an honest provider.
fn changed(from: &str, to: &str) -> Result<Asserted, ResponseError> {
    let idp = idp();
    let text = assertion("_a1", "alice");
    assert!(text.contains(from), "{from}");
    judge(&idp, &good(&idp, &text.replace(from, to)), NOW)
}

#[test]
fn each_condition_decides_by_itself() {
    let other = |what, found: &str| ResponseError::Other {
        what,
        found: found.to_owned(),
    };
    let recipient = format!("Recipient=\"{CONSUMER}\"");
    let audience = "<saml:Audience>example.test--0123456789ABCDEF</saml:Audience>";
    for (from, to, want) in [
        (
            audience,
            "<saml:Audience>x</saml:Audience>",
            other("the audience", "x"),
        ),
        (
            &recipient,
            "Recipient=\"https://evil.test\"",
            other("the recipient", "https://evil.test"),
        ),
        (&recipient, "", other("the recipient", "")),
        (
            "InResponseTo=\"_r1\"",
            "InResponseTo=\"_r2\"",
            other("the request", "_r2"),
        ),
        ("InResponseTo=\"_r1\"", "", other("the request", "")),
        (
            ENTITY,
            "https://other.test",
            ResponseError::Issuer("https://other.test".into()),
        ),
        (
            "Name=\"uid\"",
            "Name=\"mail\"",
            ResponseError::NoUser("uid".into()),
        ),
        (">alice<", "> <", ResponseError::NoUser("uid".into())),
        (">alice<", ">a b<", ResponseError::NoUser("uid".into())),
        (
            "NotBefore=\"2023-11-14T22:13:00Z\"",
            "NotBefore=\"2023-11-14T22:15:00Z\"",
            ResponseError::NotYet { in_s: 100 },
        ),
        (
            "NotOnOrAfter=\"2023-11-14T22:18:20Z\" Rec",
            "NotOnOrAfter=\"2023-11-14T22:10:00Z\" Rec",
            ResponseError::Expired { ago_s: 200 },
        ),
    ] {
        let found = changed(from, to).unwrap_err();
        assert_eq!(found, want, "{to}");
        assert!(!found.is_forged());
    }
    for (from, to) in [
        ("<saml:AudienceRestriction>", "<saml:OneTimeUse/><saml:X>"),
        ("cm:bearer", "cm:sender-vouches"),
        ("Version=\"2.0\"", "Version=\"1.1\""),
        ("2023-11-14T22:18:20Z", "tomorrow"),
        ("AuthnStatement ", "AuthzDecisionStatement "),
    ] {
        let to = (to.to_owned(), from == "<saml:AudienceRestriction>");
        let end = if to.1 {
            ("</saml:AudienceRestriction>", "</saml:X>")
        } else {
            ("\0", "")
        };
        let end = if from == "AuthnStatement " {
            ("</saml:AuthnStatement>", "</saml:AuthzDecisionStatement>")
        } else {
            end
        };
        let idp = idp();
        let text = assertion("_a1", "alice")
            .replace(from, &to.0)
            .replace(end.0, end.1);
        let found = judge(&idp, &good(&idp, &text), NOW).unwrap_err();
        assert!(
            matches!(found, ResponseError::Malformed(_)),
            "{from} {found:?}"
        );
    }
    let two = "<saml:AttributeValue>alice</saml:AttributeValue>";
    let twice = changed(two, &two.repeat(2)).unwrap_err();
    assert_eq!(twice, ResponseError::NoUser("uid".into()));
}

#[test]
fn a_response_is_good_for_its_time_and_clocks_may_differ_a_little() {
    let idp = idp();
    let xml = good(&idp, &assertion("_a1", "alice"));
    let at = |offset_s: i64| {
        let millis = NOW.as_millis().saturating_add_signed(offset_s * 1000);
        judge(&idp, &xml, UnixTime::from_millis(millis))
    };
    assert!(at(-49).is_ok() && at(300).is_ok() && at(329).is_ok());
    assert_eq!(at(-51).unwrap_err(), ResponseError::NotYet { in_s: 31 });
    assert_eq!(at(330).unwrap_err(), ResponseError::Expired { ago_s: 30 });
}

#[test]
fn a_refusal_of_the_provider_is_told_with_its_codes() {
    let idp = idp();
    let status = "<samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/>";
    let refusal = "<samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Responder\">\
        <samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:AuthnFailed\"/>\
        </samlp:StatusCode>";
    let xml = response("_p1", "")
        .replace("{sig}", "")
        .replace(status, refusal);
    let found = judge(&idp, &xml, NOW).unwrap_err();
    assert_eq!(
        found,
        ResponseError::Status("Responder, AuthnFailed".into())
    );
    let encrypted = response("_p1", "<saml:EncryptedAssertion/>").replace("{sig}", "");
    let found = judge(&idp, &encrypted, NOW).unwrap_err();
    assert!(found.to_string().contains("encrypted"), "{found}");
}

#[test]
fn another_providers_key_counts_for_nothing() {
    let (ours, theirs) = (idp(), idp());
    let xml = good(&theirs, &assertion("_a1", "alice"));
    let found = judge(&ours, &xml, NOW).unwrap_err();
    assert!(found.is_forged() && found.to_string().contains("none of the provider's keys"));
}

#[test]
fn a_request_is_what_the_provider_inflates() {
    let url = request::redirect(&service(), &idp().provider, NOW, "_r1", "relay+1", None);
    let query = url.strip_prefix("https://idp.test/sso?a=b&").unwrap();
    assert_eq!(crate::url::field(query, "RelayState").unwrap(), "relay+1");
    let message = crate::url::field(query, "SAMLRequest").unwrap();
    let bytes = STANDARD.decode(message).unwrap();
    // One stored block: its header, then the text.
    let xml = std::str::from_utf8(&bytes[5..]).unwrap();
    let document = parse(xml).unwrap();
    let root = document.root_element();
    assert_eq!(root.attribute("ID"), Some("_r1"));
    assert_eq!(root.attribute("IssueInstant"), Some("2023-11-14T22:13:20Z"));
    assert_eq!(
        root.attribute("AssertionConsumerServiceURL"),
        Some(CONSUMER)
    );
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn a_request_is_signed_as_the_binding_says_where_there_is_a_key() {
    let made = || {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let params = rcgen::CertificateParams::new(vec!["sp.test".into()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap();
        let key = pem("PRIVATE KEY", &pair.serialize_der());
        (key, certificate.der().to_vec())
    };
    let ((key, certificate), (other, _)) = (made(), made());
    let shown = pem("CERTIFICATE", &certificate);
    let signer = Signer::read(&key, &shown).unwrap();
    let found = Signer::read(&other, &shown).unwrap_err();
    assert!(found.contains("another key"), "{found}");
    let found = Signer::read(&shown, &shown).unwrap_err();
    assert!(found.contains("signing_key_file"), "{found}");
    let provider = idp().provider;
    let url = request::redirect(&service(), &provider, NOW, "_r1", "a b", Some(&signer));
    let query = url.strip_prefix("https://idp.test/sso?a=b&").unwrap();
    let (signed, signature) = query.split_once("&Signature=").unwrap();
    assert!(signed.starts_with("SAMLRequest=") && signed.contains("&RelayState=a%20b&SigAlg=http"));
    let signature = crate::url::field(&format!("s={signature}"), "s").unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let public = crate::certificate::Certificate::read(&certificate)
        .unwrap()
        .key;
    let algorithm = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
    let public = aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, &public);
    assert!(public.verify(signed.as_bytes(), &signature).is_ok());
    // The provider finds the key in our metadata.
    let ours = service().metadata(&[], Some(&signer));
    assert!(ours.contains("AuthnRequestsSigned=\"true\"") && parse(&ours).is_ok());
    assert!(ours.contains(&STANDARD.encode(&certificate)));
}

#[test]
fn the_user_may_be_what_stands_before_the_at_of_certain_domains() {
    let idp = idp();
    let domains = ["example.test".to_owned(), "mail.test".to_owned()];
    let service = service();
    let of = |user: &str| {
        let encoded = STANDARD.encode(good(&idp, &assertion("_a1", user)));
        let expected = Expected {
            service: &service,
            provider: &idp.provider,
            request: "_r1",
            attribute: "uid",
            local_part_of: &domains,
        };
        check(&expected, NOW, SKEW, &encoded).map(|a| a.user.into_inner())
    };
    assert_eq!(of("alice@MAIL.test"), Ok("alice".into()));
    assert_eq!(of("alice@example.test"), Ok("alice".into()));
    for other in [
        "alice",
        "alice@evil.test",
        "@mail.test",
        "a@evil.test@mail.test",
    ] {
        assert_eq!(
            of(other),
            Err(ResponseError::NoUser("uid".into())),
            "{other}"
        );
    }
}

#[test]
fn a_provider_that_wants_signed_requests_is_known() {
    let read = |wants: &str| {
        let pair = rcgen::generate_simple_self_signed(vec!["idp.test".into()]).unwrap();
        let text = STANDARD.encode(pair.cert.der());
        let xml = format!(
            "<EntityDescriptor xmlns=\"{METADATA}\" entityID=\"x\"><IDPSSODescriptor{wants}>\
             <KeyDescriptor><KeyInfo xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><X509Data>\
             <X509Certificate>{text}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>\
             <SingleSignOnService Binding=\"{REDIRECT}\" Location=\"https://idp.test/\"/>\
             </IDPSSODescriptor></EntityDescriptor>"
        );
        Provider::read(&xml).unwrap().wants_signed
    };
    assert!(read(" WantAuthnRequestsSigned=\"true\"") && read(" WantAuthnRequestsSigned=\"1\""));
    assert!(!read("") && !read(" WantAuthnRequestsSigned=\"false\""));
}

#[test]
fn metadata_without_what_is_needed_is_refused() {
    let ours = service().metadata(&["https://edge2.example.test:8443/x/fedlet".into()], None);
    assert!(parse(&ours).is_ok());
    // Ours is a service's, not a provider's.
    assert!(Provider::read(&ours).is_err());
    assert!(Provider::read("<x/>").is_err());
    assert!(Provider::read("").is_err());
    let until = idp().provider.until;
    assert!(until > NOW, "{until:?}");
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(
        text in ".{0,200}",
        xml in "(<[ab]( ID=\"x\")?>|</[ab]>|x){0,40}",
    ) {
        let idp = IDP.with(Clone::clone);
        let expected = Expected {
            service: &service(),
            provider: &idp,
            request: "_r1",
            attribute: "uid",
            local_part_of: &[],
        };
        prop_assert!(check(&expected, NOW, SKEW, &text).is_err());
        prop_assert!(check(&expected, NOW, SKEW, &STANDARD.encode(&xml)).is_err());
        let _ = Provider::read(&xml);
    }
}

thread_local! {
    static IDP: Provider = idp().provider;
}
