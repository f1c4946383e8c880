//! Signature wrapping (Somorovsky et al., "On Breaking SAML", 2012) and its kin, by table: a
//! provider's genuine answer for alice, and attempts to be mallory with it.

use super::*;

const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";

/// The signature of a signed element, and the element without it.
fn apart(signed: &str) -> (String, String) {
    let from = signed.find("<ds:Signature ").unwrap();
    let end = "</ds:Signature>";
    let to = signed.find(end).unwrap() + end.len();
    let rest = format!("{}{}", &signed[..from], &signed[to..]);
    (signed[from..to].to_owned(), rest)
}

/// The signature with `object` in it.
fn holding(signature: &str, object: &str) -> String {
    let object = format!("<ds:Object>{object}</ds:Object></ds:Signature>");
    signature.replace("</ds:Signature>", &object)
}

fn attempts(idp: &Idp) -> Vec<(&'static str, String)> {
    let evil = |sig: &str| assertion("_e1", "mallory").replace("{sig}", sig);
    let signed = sign(idp, &assertion("_a1", "alice"));
    let (sig, bare) = apart(&signed);
    let plain = |within: &str| response("_p1", within).replace("{sig}", "");
    let whole = sign(
        idp,
        &response("_p1", &assertion("_a1", "alice").replace("{sig}", "")),
    );
    let (whole_sig, whole_bare) = apart(&whole);
    let outer = |sig: &str, more: &str| {
        let within = format!("{}{more}", evil(""));
        response("_p2", &within).replacen("{sig}", sig, 1)
    };
    let inside = evil("").replace("</saml:Assertion>", &format!("{signed}</saml:Assertion>"));
    let swapped = signed
        .replace("\"_a1\" V", "\"_e1\" V")
        .replace("alice", "mallory");
    let extensions = format!("<samlp:Extensions>{}</samlp:Extensions>{signed}", evil(""));
    vec![
        ("a response around the signed response, in its signature", {
            outer(&holding(&whole_sig, &whole_bare), "")
        }),
        (
            "the signed response beside its signature",
            outer(&whole_sig, &whole_bare),
        ),
        (
            "an assertion before the signed one",
            plain(&format!("{}{signed}", evil(""))),
        ),
        (
            "an assertion after the signed one",
            plain(&format!("{signed}{}", evil(""))),
        ),
        ("the signed one within another", plain(&inside)),
        (
            "the signature moved to another",
            plain(&format!("{}{bare}", evil(&sig))),
        ),
        (
            "the signed one in the other's signature",
            plain(&evil(&holding(&sig, &bare))),
        ),
        (
            "the signed one whole in the other's signature",
            plain(&evil(&holding(&sig, &signed))),
        ),
        ("an assertion among extensions", plain(&extensions)),
        ("the id changed with the rest", plain(&swapped)),
        (
            "the same id twice",
            plain(&format!("{}{signed}", evil("").replace("_e1", "_a1"))),
        ),
        ("no signature at all", plain(&evil(""))),
        (
            "only the user changed",
            plain(&signed.replace("alice", "mallory")),
        ),
        (
            "a comment cuts the user",
            plain(&signed.replace("alice", "al<!-- -->ice")),
        ),
        (
            "a comment makes another user",
            plain(&signed.replace("alice", "mallory<!-- -->alice")),
        ),
        (
            "a type definition",
            format!("<!DOCTYPE x>{}", plain(&signed)),
        ),
        (
            "an instruction",
            plain(&signed.replace("alice", "<?x?>alice")),
        ),
        (
            "an element in the value",
            plain(&signed.replace("alice", "<b>alice</b>")),
        ),
        (
            "the reference to all of it",
            plain(&signed.replace("\"#_a1\"", "\"\"")),
        ),
        (
            "an XPointer",
            plain(&signed.replace("\"#_a1\"", "\"#xpointer(id('_a1'))\"")),
        ),
        (
            "SHA-1",
            plain(&signed.replace("xmldsig-more#rsa-sha256", "xmldsig#rsa-sha1")),
        ),
        (
            "HMAC",
            plain(&signed.replace("xmldsig-more#rsa-sha256", "xmldsig-more#hmac-sha256")),
        ),
        ("another transform", {
            let xslt = "http://www.w3.org/TR/1999/REC-xslt-19991116";
            let enveloped = format!("{DSIG}enveloped-signature");
            plain(&signed.replace(&enveloped, xslt))
        }),
        ("two references", {
            let from = signed.find("<ds:Reference").unwrap();
            let to = signed.find("</ds:SignedInfo>").unwrap();
            let twice = signed[from..to].repeat(2);
            plain(&format!("{}{twice}{}", &signed[..from], &signed[to..]))
        }),
        ("a signature where none belongs", {
            plain(&signed).replace("<samlp:Status>", &format!("<samlp:Status>{sig}"))
        }),
        (
            "a response of SAML 1.1",
            plain(&signed).replacen("2.0\" Dest", "1.1\" Dest", 1),
        ),
        (
            "a response to nobody's request",
            plain(&signed).replacen("\"_r1\"", "\"_r9\"", 1),
        ),
        (
            "a response for another address",
            plain(&signed).replacen(CONSUMER, "https://x.test", 1),
        ),
    ]
}

#[test]
fn no_wrapping_of_a_genuine_answer_signs_anybody_in() {
    let idp = idp();
    let genuine = good(&idp, &assertion("_a1", "alice"));
    assert_eq!(judge(&idp, &genuine, NOW).unwrap().user.expose(), "alice");
    for (what, xml) in attempts(&idp) {
        let found = judge(&idp, &xml, NOW);
        assert!(found.is_err(), "{what}: {found:?}");
    }
}

#[test]
fn no_byte_of_what_is_signed_can_be_changed() {
    let idp = idp();
    let genuine = good(&idp, &assertion("_a1", "alice"));
    let from = genuine.find("<saml:Assertion").unwrap();
    let to = genuine.find("</saml:Assertion>").unwrap();
    for at in (from..to).step_by(3) {
        let mut bytes = genuine.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        let xml = String::from_utf8(bytes).unwrap();
        // The spelling of base64's last character, and of prefixes alone, may change nothing.
        if let Ok(found) = judge(&idp, &xml, NOW) {
            assert_eq!(found.user.expose(), "alice", "byte {at}");
        }
    }
}
