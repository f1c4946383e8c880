//! Configuration files over HTTP 6970: per device, per profile, per cluster.

use http::Method;

use crate::web::{Answer, Request, decoded, escaped};
use crate::world::{DOMAIN, Host, User, World};

/// The answer to a request for a file. A signed file (`.sgn`) is served as the plain one, which is
/// what a cluster without security does.
pub fn answer(node: &str, world: &World, request: &Request) -> Answer {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Answer::empty(405);
    }
    let name = decoded(request.path.trim_start_matches('/'));
    let plain = name.trim_end_matches(".sgn");
    match text(plain, node, world) {
        Some(body) if plain.ends_with(".txt") => Answer::new(200, "text/plain", body),
        Some(body) => Answer::new(200, "text/xml", body),
        None => Answer::new(404, "text/plain", format!("File not found: {name}\n")),
    }
}

fn text(name: &str, node: &str, world: &World) -> Option<String> {
    let cluster = world.cluster_of(node);
    match name {
        "SPDefault.cnf.xml" => Some(service_profile(node, world)),
        "jabber-config.xml" => Some(jabber_config(cluster, world)),
        "global-settings.xml" => Some(global_settings()),
        "XMLDefault.cnf.xml" => Some(default_phone(cluster)),
        "AppDialRules.xml" => Some(dial_rules("AppDialRules")),
        "DirLookupDialRules.xml" => Some(dial_rules("DirLookupDialRules")),
        "ConfigFileCacheList.txt" => Some(cached(node, world)),
        _ => {
            let device = name.strip_suffix(".cnf.xml")?;
            let user = world
                .users
                .iter()
                .find(|u| u.device.eq_ignore_ascii_case(device) && world.is_home(node, u))?;
            Some(device_file(user, cluster))
        }
    }
}

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The nodes that a device registers at, in order.
fn members(cluster: &[Host]) -> String {
    let mut out = String::from("<members>");
    for (priority, node) in cluster.iter().enumerate() {
        out.push_str(&format!(
            "<member priority=\"{priority}\"><callManager><name>{0}</name><ports>\
             <ethernetPhonePort>2000</ethernetPhonePort><sipPort>5060</sipPort>\
             <securedSipPort>5061</securedSipPort><sipOAuthPort>5090</sipOAuthPort>\
             <sipMRAOAuthPort>5091</sipMRAOAuthPort></ports><processNodeName>{0}\
             </processNodeName></callManager></member>",
            node.fqdn
        ));
    }
    out + "</members>"
}

/// What a soft client must know to register its line.
fn device_file(user: &User, cluster: &[Host]) -> String {
    let device_pool = format!(
        "<devicePool><name>Default</name><dateTimeSetting><dateTemplate>D.M.Y</dateTemplate>\
         <timeZone>UTC</timeZone><ntps/></dateTimeSetting><callManagerGroup><name>Default</name>\
         {}</callManagerGroup><srstInfo><name>Disable</name></srstInfo></devicePool>",
        members(cluster)
    );
    let line = format!(
        "<line button=\"1\" lineIndex=\"1\"><featureID>9</featureID><featureLabel>{display}\
         </featureLabel><proxy>USECALLMANAGER</proxy><port>5060</port><name>{number}</name>\
         <displayName>{display}</displayName><autoAnswer><autoAnswerEnabled>2\
         </autoAnswerEnabled></autoAnswer><callWaiting>3</callWaiting><authName></authName>\
         <authPassword></authPassword><sharedLine>false</sharedLine><messagesNumber>\
         </messagesNumber><contact>{contact}</contact></line>",
        display = escaped(&user.display()),
        number = user.extension,
        contact = user.device_id,
    );
    let stack = "<sipStack><sipInviteRetx>6</sipInviteRetx><sipRetx>10</sipRetx>\
        <timerInviteExpires>180</timerInviteExpires><timerRegisterExpires>3600\
        </timerRegisterExpires><timerRegisterDelta>5</timerRegisterDelta>\
        <timerKeepAliveExpires>120</timerKeepAliveExpires><timerSubscribeExpires>120\
        </timerSubscribeExpires><timerSubscribeDelta>5</timerSubscribeDelta><timerT1>500</timerT1>\
        <timerT2>4000</timerT2><maxRedirects>70</maxRedirects><remotePartyID>true</remotePartyID>\
        <userInfo>None</userInfo></sipStack>";
    format!(
        "{DECLARATION}<device xsi:type=\"axl:XIPPhone\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:axl=\"http://www.cisco.com/AXL/API/9.1\"><fullConfig>true</fullConfig>\
         <deviceProtocol>SIP</deviceProtocol><ipAddressMode>0</ipAddressMode>{device_pool}\
         <sipProfile><sipProxies><registerWithProxy>true</registerWithProxy></sipProxies>\
         <sipCallFeatures><cnfJoinEnabled>true</cnfJoinEnabled><callForwardURI>x-cisco-serviceuri-\
         cfwdall</callForwardURI><callHoldRingback>2</callHoldRingback></sipCallFeatures>{stack}\
         <enableVad>false</enableVad><preferredCodec>none</preferredCodec><natEnabled>false\
         </natEnabled><startMediaPort>16384</startMediaPort><stopMediaPort>32766</stopMediaPort>\
         <sipLines>{line}</sipLines></sipProfile><phoneServices/><versionStamp>{stamp}\
         </versionStamp><deviceSecurityMode>1</deviceSecurityMode><transportLayerProtocol>1\
         </transportLayerProtocol><sipOAuthMode>0</sipOAuthMode><certHash></certHash>\
         <encrConfig>false</encrConfig><capfAuthMode>0</capfAuthMode><capfList><capf>\
         <phonePort>3804</phonePort><processNodeName>{publisher}</processNodeName></capf>\
         </capfList><dialToneSetting>2</dialToneSetting></device>\n",
        stamp = user.id,
        publisher = publisher(cluster),
    )
}

fn publisher(cluster: &[Host]) -> &str {
    cluster.first().map_or("", |node| &node.fqdn)
}

/// Where a client finds presence, voicemail and the directory.
fn service_profile(node: &str, world: &World) -> String {
    let presence = world
        .im_presence
        .first()
        .map(|n| n.fqdn.as_str())
        .unwrap_or_default();
    format!(
        "{DECLARATION}<ServiceProfile><ServiceProfileName>Default</ServiceProfileName>\
         <Presence><PrimaryServer>{presence}</PrimaryServer><Domain>{DOMAIN}</Domain></Presence>\
         <Voicemail><UseCredentialsFrom>phone</UseCredentialsFrom><PrimaryServer><Host>{0}</Host>\
         <Port>443</Port><Protocol>HTTPS</Protocol></PrimaryServer></Voicemail>\
         <Directory><Type>UDS</Type><UdsServer>{node}</UdsServer></Directory>\
         <CTI><PrimaryServer>{node}</PrimaryServer></CTI></ServiceProfile>\n",
        world.unity.fqdn
    )
}

fn jabber_config(cluster: &[Host], world: &World) -> String {
    format!(
        "{DECLARATION}<config version=\"1.0\"><Client><ServicesDomain>{DOMAIN}</ServicesDomain>\
         <VoiceServicesDomain>{DOMAIN}</VoiceServicesDomain></Client><Directory>\
         <DirectoryServerType>UDS</DirectoryServerType></Directory><Phone>\
         <TftpServer1>{publisher}</TftpServer1><CcmcipServer1>{publisher}</CcmcipServer1></Phone>\
         <Presence><PresenceServerAddress>{presence}</PresenceServerAddress></Presence>\
         <Voicemail><VmServer1>{voicemail}</VmServer1></Voicemail></config>\n",
        publisher = publisher(cluster),
        presence = world
            .im_presence
            .first()
            .map(|n| n.fqdn.as_str())
            .unwrap_or_default(),
        voicemail = world.unity.fqdn,
    )
}

fn global_settings() -> String {
    format!(
        "{DECLARATION}<global-settings><softphone-mode>enabled</softphone-mode></global-settings>\n"
    )
}

fn default_phone(cluster: &[Host]) -> String {
    format!(
        "{DECLARATION}<Default><callManagerGroup>{}</callManagerGroup><authenticationURL/>\
         <directoryURL/><idleURL/><servicesURL/></Default>\n",
        members(cluster)
    )
}

fn dial_rules(name: &str) -> String {
    format!("{DECLARATION}<DialRules><{name}/></DialRules>\n")
}

/// What the server keeps, which shows the names of all devices: no gateway may hand it out.
fn cached(node: &str, world: &World) -> String {
    let mut out = String::from("SPDefault.cnf.xml 1 1\njabber-config.xml 1 1\n");
    for user in world.users.iter().filter(|u| world.is_home(node, u)) {
        out.push_str(&format!("{}.cnf.xml 1 1\n", user.device));
    }
    out
}
