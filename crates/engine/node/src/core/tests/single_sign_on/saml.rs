//! A browser's way to a SAML provider and back. What the provider signs is written in its canonical
//! form already, so that no reader of ours has a hand in it.

use super::browsers::begin;
use super::*;
use ::sso::url::{field, form};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::engine::general_purpose::STANDARD;

const ENTITY: &str = "https://idp.test/saml";
const CONSUMER: &str = "https://edge1.example.test:8443/c2FtbC50ZXN0/fedlet";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";

/// A world with a SAML provider, and the provider's key; its certificate ended before `until`.
fn world(year: i32) -> (World, RsaKeyPair) {
    world_with(year, "", false)
}

/// The same, with attributes of its role, and a key of ours that signs requests.
fn world_with(year: i32, role: &str, signs: bool) -> (World, RsaKeyPair) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["idp.test".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = STANDARD.encode(params.self_signed(&pair).unwrap().der());
    let text = format!(
        "<EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{ENTITY}\">\
         <IDPSSODescriptor{role}><KeyDescriptor><KeyInfo xmlns=\"{DSIG}\"><X509Data>\
         <X509Certificate>\
         {certificate}</X509Certificate></X509Data></KeyInfo></KeyDescriptor><SingleSignOnService \
         Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" \
         Location=\"https://idp.test/sso\"/></IDPSSODescriptor></EntityDescriptor>"
    );
    let saml = "\n[[domains]]\nname = \"saml.test\"\nsign_in = { by = \"saml\", metadata_file = \
                \"idp.xml\" }\n";
    let signing = "metadata_file = \"idp.xml\", signing_key_file = \"k\", \
                   signing_certificate_file = \"c\"";
    let saml = match signs {
        true => saml.replace("metadata_file = \"idp.xml\"", signing),
        false => saml.to_owned(),
    };
    let mut config = (*load(&format!("{HEAD}{UNIFIED_CM}{saml}"))).clone();
    if let config::Role::Core(core) = &mut config.role {
        for domain in &mut core.domains {
            if let Some(metadata) = domain.provider_metadata() {
                *metadata = config::Password::Given(Secret::new(text.clone()));
            }
            let own = rcgen::CertificateParams::new(vec!["sp.test".into()]).unwrap();
            let own = own.self_signed(&pair).unwrap().pem();
            for (_, key, _, file) in domain.provider_keys() {
                let text = match key {
                    "signing_key_file" => pair.serialize_pem(),
                    _ => own.clone(),
                };
                *file = config::Password::Given(Secret::new(text));
            }
        }
    }
    let mut world = World::configured(&Arc::new(config), web);
    world.link("i1");
    world.lane();
    (
        world,
        RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(),
    )
}

/// A response with a signed assertion.
fn response(key: &RsaKeyPair, entity: &str, request: &str, user: &str, until: &str) -> String {
    let assertion = |signature: &str| {
        format!(
            "<Assertion xmlns=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"_a\" \
             Version=\"2.0\"><Issuer>{ENTITY}</Issuer>{signature}<Subject><SubjectConfirmation \
             Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><SubjectConfirmationData \
             InResponseTo=\"{request}\" NotOnOrAfter=\"{until}\" Recipient=\"{CONSUMER}\">\
             </SubjectConfirmationData></SubjectConfirmation></Subject><Conditions>\
             <AudienceRestriction><Audience>{entity}</Audience></AudienceRestriction>\
             </Conditions><AuthnStatement></AuthnStatement><AttributeStatement><Attribute \
             Name=\"uid\"><AttributeValue>{user}</AttributeValue></Attribute>\
             </AttributeStatement></Assertion>"
        )
    };
    let value = STANDARD.encode(digest(&SHA256, assertion("").as_bytes()));
    let info = format!(
        "<SignedInfo xmlns=\"{DSIG}\"><CanonicalizationMethod \
         Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></CanonicalizationMethod>\
         <SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\">\
         </SignatureMethod><Reference URI=\"#_a\"><Transforms><Transform \
         Algorithm=\"{DSIG}enveloped-signature\"></Transform><Transform \
         Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></Transform></Transforms>\
         <DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></DigestMethod>\
         <DigestValue>{value}</DigestValue></Reference></SignedInfo>"
    );
    let mut signature = vec![0; 256];
    let random = SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &random, info.as_bytes(), &mut signature)
        .unwrap();
    let value = STANDARD.encode(signature);
    let signature = format!(
        "<Signature xmlns=\"{DSIG}\">{info}<SignatureValue>{value}</SignatureValue></Signature>"
    );
    format!(
        "<p:Response xmlns:p=\"urn:oasis:names:tc:SAML:2.0:protocol\" ID=\"_p\" Version=\"2.0\">\
         <p:Status><p:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/>\
         </p:Status>{}</p:Response>",
        assertion(&signature)
    )
}

/// Begins a log-in: the request's id, the relay state and the cookie.
fn begun(world: &mut World) -> (String, String, String) {
    let (to, cookie) = begin(world, "saml.test", "");
    let query = to.strip_prefix("https://idp.test/sso?").unwrap();
    let request = STANDARD
        .decode(field(query, "SAMLRequest").unwrap())
        .unwrap();
    let text = String::from_utf8_lossy(&request).into_owned();
    let id = text
        .split("ID=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    (id.to_owned(), field(query, "RelayState").unwrap(), cookie)
}

fn post(world: &mut World, xml: &str, relay: &str, cookie: &str) -> Reply {
    let encoded = STANDARD.encode(xml);
    let fields = [("SAMLResponse", encoded.as_str()), ("RelayState", relay)];
    let asked = SsoRequest {
        form: Some(Secret::new(form(&fields))),
        cookie: Some(cookie.to_owned()),
        ..super::request("saml.test", "fedlet")
    };
    ask(world, asked)
}

fn our_name(world: &mut World) -> String {
    let metadata = ask(world, super::request("saml.test", "metadata"));
    assert_eq!(metadata.status, 200);
    assert!(metadata.body.contains(CONSUMER), "{}", metadata.body);
    let name = metadata.body.split("entityID=\"").nth(1).unwrap();
    name.split('"').next().unwrap().to_owned()
}

/// An hour after the world's beginning.
const LATER: &str = "2026-09-21T15:13:20Z";

#[test]
fn a_user_signs_in_by_saml_once() {
    let (mut world, key) = world(2100);
    let entity = our_name(&mut world);
    assert!(entity.starts_with("saml.test--"), "{entity}");
    let (request, relay, cookie) = begun(&mut world);
    let xml = response(&key, &entity, &request, "alice", LATER);
    let reply = post(&mut world, &xml, &relay, &cookie);
    assert_eq!(reply.status, 302, "{:?}", world.events);
    let at = header(&reply, "Location");
    assert_eq!(at, "https://edge1.example.test:8443/c2FtbC50ZXN0/signed_in");
    let ours = header(&reply, "Set-Cookie")
        .strip_prefix("X-Auth=")
        .unwrap();
    let ours = ours.split(';').next().unwrap().to_owned();
    let config = SsoRequest {
        shown: Shown::Sessions(vec![ours]),
        ..super::request("saml.test", "get_edge_config")
    };
    assert_eq!(ask(&mut world, config).status, 200);
    assert!(world.kinds().contains(&Kind::SignedOn));
    // The same answer again is nobody's.
    assert_eq!(post(&mut world, &xml, &relay, &cookie).status, 403);
    // Nor does it answer another request.
    let (_, relay, cookie) = begun(&mut world);
    assert_eq!(post(&mut world, &xml, &relay, &cookie).status, 403);
    assert!(!world.kinds().contains(&Kind::IdpCertificate));
}

#[test]
fn what_is_wrong_with_an_answer_is_told_by_name() {
    let (mut world, key) = world(2100);
    let (_, other) = self::world(2100);
    let entity = our_name(&mut world);
    for (key, entity, user, until, kind, word) in [
        (
            &other,
            entity.as_str(),
            "alice",
            LATER,
            Kind::SsoRefused,
            "none of the provider's keys",
        ),
        (&key, "x", "alice", LATER, Kind::SsoRefused, "audience"),
        (&key, &entity, "", LATER, Kind::UserUnnamed, "uid"),
        (
            &key,
            &entity,
            "alice",
            "2026-09-21T10:00:00Z",
            Kind::IssuerClock,
            "ago",
        ),
    ] {
        world.wait(Duration::from_secs(70));
        let (request, relay, cookie) = begun(&mut world);
        let xml = response(key, entity, &request, user, until);
        let reply = post(&mut world, &xml, &relay, &cookie);
        assert_eq!(reply.status, 403);
        assert!(header(&reply, "Set-Cookie").is_empty());
        let told = world.events.iter().rev().find(|e| e.kind == kind).unwrap();
        assert!(told.cause.contains(word), "{}", told.cause);
    }
}

#[test]
fn who_posts_what_no_provider_signed_is_heard_no_more() {
    let (mut world, key) = world(2100);
    let (_, other) = self::world(2100);
    let entity = our_name(&mut world);
    let nested: String = (0..60).map(|i| format!("<a xmlns:p{i}='u'>")).collect();
    for n in 0..10 {
        let (request, relay, cookie) = begun(&mut world);
        let xml = match n % 2 {
            0 => nested.clone(),
            _ => response(&other, &entity, &request, "alice", LATER),
        };
        assert_eq!(post(&mut world, &xml, &relay, &cookie).status, 403);
    }
    assert!(world.kinds().contains(&Kind::Banned));
    let (request, relay, cookie) = begun(&mut world);
    let xml = response(&key, &entity, &request, "alice", LATER);
    assert_eq!(post(&mut world, &xml, &relay, &cookie).status, 429);
}

#[test]
fn an_expired_certificate_of_the_provider_is_told_and_its_key_counts() {
    let (mut world, key) = world(2020);
    assert!(world.kinds().contains(&Kind::IdpCertificate));
    let entity = our_name(&mut world);
    let (request, relay, cookie) = begun(&mut world);
    let xml = response(&key, &entity, &request, "alice", LATER);
    assert_eq!(post(&mut world, &xml, &relay, &cookie).status, 302);
}

#[test]
fn a_provider_that_wants_signed_requests_gets_them_or_it_is_told_what_to_set() {
    let wants = " WantAuthnRequestsSigned=\"true\"";
    let told = |world: &World| {
        let found = world.events.iter().find(|e| e.kind == Kind::SsoKey);
        found.map(|e| e.cause.clone())
    };
    let (world, _) = world_with(2030, wants, false);
    let cause = told(&world).unwrap();
    assert!(cause.contains("sign_in.signing_key_file"), "{cause}");
    let (mut world, _) = world_with(2030, wants, true);
    assert_eq!(told(&world), None);
    let (to, _) = begin(&mut world, "saml.test", "");
    let algorithm = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
    let query = to.split_once('?').unwrap().1;
    assert_eq!(field(query, "SigAlg").as_deref(), Some(algorithm));
    assert!(field(query, "Signature").is_some());
    let metadata = ask(&mut world, super::request("saml.test", "metadata"));
    assert!(metadata.body.contains("AuthnRequestsSigned=\"true\""));
    // Signatures cost: a source gets some, and then one a second.
    let mut statuses = (0..60).map(|_| {
        let authorize = super::request("saml.test", "authorize");
        ask(&mut world, authorize).status
    });
    assert!(statuses.any(|status| status == 503));
    drop(statuses);
    let elsewhere = SsoRequest {
        client: Some("203.0.113.9".parse().unwrap()),
        ..super::request("saml.test", "authorize")
    };
    assert_eq!(ask(&mut world, elsewhere).status, 302);
}
