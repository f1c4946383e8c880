//! The client's readers, against what the public samples show.

use super::edge_config::EdgeConfig;
use super::web::lane;

const SAMPLE: &str = "<?xml version='1.0' encoding='UTF-8'?>
<getEdgeConfigResponse version=\"1.0\">
 <serviceConfig>
  <service><name>_cisco-phone-tftp</name><error>NameError</error></service>
  <service><name>_cisco-uds</name>
    <server><priority>1</priority><weight>1</weight><port>8443</port>
      <address>cucm1.example.com</address></server></service>
  <service><name>tftpServer</name>
    <address>cucm1.example.com</address><address>cucm2.example.com</address></service>
 </serviceConfig>
 <edgeConfig>
  <sipEdgeServer><server>
    <address>edge1.example.com</address><tlsPort>5061</tlsPort></server></sipEdgeServer>
  <sipRequest>
    <route>&lt;sip:10.0.0.20:5061;transport=tls;zone-id=3;directed;lr&gt;</route></sipRequest>
  <xmppEdgeServer><server>
    <address>edge1.example.com</address><tlsPort>5222</tlsPort></server></xmppEdgeServer>
  <httpEdgeServer><server>
    <address>edge1.example.com</address><tlsPort>8443</tlsPort></server></httpEdgeServer>
  <turnEdgeServer/>
  <userUdsServer><server><address>cucm1.example.com</address><tlsPort>8443</tlsPort></server>
  </userUdsServer>
 </edgeConfig>
</getEdgeConfigResponse>";

#[test]
fn edge_config_is_read_as_the_public_sample_shows_it() {
    let config = EdgeConfig::read(SAMPLE.as_bytes()).unwrap();
    assert_eq!(config.sip, [("edge1.example.com".to_owned(), 5061)]);
    assert_eq!(config.xmpp, [("edge1.example.com".to_owned(), 5222)]);
    assert_eq!(config.https, [("edge1.example.com".to_owned(), 8443)]);
    assert_eq!(config.uds, [("cucm1.example.com".to_owned(), 8443)]);
    assert_eq!(config.files, ["cucm1.example.com", "cucm2.example.com"]);
    let route = "<sip:10.0.0.20:5061;transport=tls;zone-id=3;directed;lr>";
    assert_eq!(config.route.as_deref(), Some(route));
    assert_eq!(
        config.services[0],
        ("_cisco-phone-tftp".to_owned(), Vec::new())
    );
    assert_eq!(
        config.services[1].1,
        [("cucm1.example.com".to_owned(), 8443)]
    );
}

#[test]
fn edge_config_without_the_users_uds_server_is_refused() {
    let empty = SAMPLE.replace(
        "<userUdsServer><server><address>cucm1.example.com",
        "<userUdsServer><server><address>",
    );
    let fault = EdgeConfig::read(empty.as_bytes()).unwrap_err().to_string();
    assert!(fault.contains("userUdsServer"), "{fault}");
    assert!(EdgeConfig::read(b"<html/>").is_err());
}

#[test]
fn lanes_are_base64url_without_padding() {
    assert_eq!(lane("example.com", None), "ZXhhbXBsZS5jb20");
    assert_eq!(
        lane("example.com", Some(("https", "cucm1.example.com", 8443))),
        "ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vODQ0Mw"
    );
}
