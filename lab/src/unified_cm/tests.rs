//! UDS, AXL and files, asked as clients and gateways ask.

use std::sync::Arc;

use http::Method;
use minidom::Element;

use super::{axl, files, uds};
use crate::accounts::Accounts;
use crate::web::{Answer, Request};
use crate::world::{Size, World};

const NODE: &str = "cucm1.example.test";

fn accounts() -> Accounts {
    Accounts::new(Arc::new(World::new(&Size {
        edges: 1,
        cores: 1,
        users: 10,
    })))
}

fn get(accounts: &Accounts, target: &str, login: Option<(&str, &str)>) -> Answer {
    uds::answer(NODE, accounts, &Request::of(Method::GET, target, login, ""))
}

fn document(answer: &Answer) -> Element {
    let (status, body) = answer.parts();
    assert_eq!(status, 200, "{body}");
    Element::from_reader_with_prefixes(body.as_bytes(), String::new()).unwrap()
}

#[test]
fn uds_cluster_user_is_found_in_any_case_and_an_unknown_one_is_not() {
    let accounts = accounts();
    for (query, found) in [
        ("username=alice", "true"),
        ("username=ALICE", "true"),
        ("email=alice%40example.test", "true"),
        ("username=nobody", "false"),
    ] {
        let answer = get(&accounts, &format!("/cucm-uds/clusterUser?{query}"), None);
        let result = document(&answer).get_child("result", "").cloned().unwrap();
        assert_eq!(result.attr("found"), Some(found), "{query}");
    }
}

#[test]
fn uds_user_opens_to_their_own_password_alone() {
    let accounts = accounts();
    let (alice, bob) = (
        accounts.world.users[0].clone(),
        accounts.world.users[1].clone(),
    );
    let target = "/cucm-uds/user/alice/devices";
    for login in [
        None,
        Some(("alice", "wrong")),
        Some(("bob", bob.password.as_str())),
        Some(("nobody", alice.password.as_str())),
    ] {
        let answer = get(&accounts, target, login);
        assert_eq!(answer.parts().0, 401);
        let asked = answer.header("www-authenticate");
        assert_eq!(asked, Some("Basic realm=\"Cisco Web Services Realm\""));
    }
    let devices = document(&get(&accounts, target, Some(("Alice", &alice.password))));
    let device = devices.get_child("device", "").unwrap();
    assert_eq!(device.get_child("name", "").unwrap().text(), "CSFALICE");

    let path = format!("/cucm-uds/user/alice/device/{}", alice.device_id);
    let device = document(&get(&accounts, &path, Some(("alice", &alice.password))));
    let file = device
        .get_child("provision", "")
        .unwrap()
        .get_child("uri", "")
        .unwrap()
        .text();
    assert_eq!(file, "http://cucm1.example.test:6970/CSFALICE.cnf.xml");
}

#[test]
fn uds_search_finds_by_beginnings_of_names_and_in_pages() {
    let accounts = accounts();
    let count = |query: &str| {
        let users = document(&get(&accounts, &format!("/cucm-uds/users?{query}"), None));
        let total = users.attr("totalCount").unwrap().parse::<usize>().unwrap();
        (total, users.children().count())
    };
    assert_eq!(count("name=al"), (1, 1));
    assert_eq!(count("name=ada"), (1, 1));
    assert_eq!(count("name=alice+ad"), (1, 1));
    assert_eq!(count("name=ad%20alice"), (1, 1));
    assert_eq!(count("name=alice+ad+x"), (0, 0));
    assert_eq!(count("name=lice"), (0, 0));
    assert_eq!(count("number=100&max=3"), (9, 3));
    assert_eq!(count("number=100&start=8"), (9, 1));
    assert_eq!(count("first=b&last=b"), (1, 1));
    assert_eq!(
        get(&accounts, "/cucm-uds/users?max=many", None).parts().0,
        400
    );
}

#[test]
fn uds_password_is_changed_by_its_owner() {
    let accounts = accounts();
    let old = accounts.world.users[0].password.clone();
    let target = "/cucm-uds/user/alice/credentials";
    let body = "<credentials><credential type=\"password\">new-secret</credential></credentials>";
    let put = |login| {
        uds::answer(
            NODE,
            &accounts,
            &Request::of(Method::PUT, target, login, body),
        )
        .parts()
        .0
    };
    assert_eq!(put(Some(("alice", "wrong"))), 401);
    assert_eq!(put(Some(("alice", &old))), 204);
    assert_eq!(get(&accounts, target, Some(("alice", &old))).parts().0, 401);
    document(&get(&accounts, target, Some(("alice", "new-secret"))));
}

#[test]
fn uds_refuses_what_it_does_not_have() {
    let accounts = accounts();
    for (method, target, want) in [
        (Method::GET, "/cucm-uds/nothing", 404),
        (Method::POST, "/cucm-uds/servers", 405),
        (Method::GET, "/cucm-uds/clusterUser", 400),
    ] {
        let request = Request::of(method, target, None, "");
        assert_eq!(
            uds::answer(NODE, &accounts, &request).parts().0,
            want,
            "{target}"
        );
    }
}

fn ask(accounts: &Accounts, login: (&str, &str), schema: &str, inner: &str) -> (u16, String) {
    let body = format!(
        "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:ns=\"http://www.cisco.com/AXL/API/{schema}\"><soapenv:Header/><soapenv:Body>\
         {inner}</soapenv:Body></soapenv:Envelope>"
    );
    axl::answer(
        NODE,
        accounts,
        &Request::of(Method::POST, "/axl/", Some(login), &body),
    )
    .parts()
}

const LIST: &str = "<ns:listProcessNode><searchCriteria><name>%</name></searchCriteria>\
    <returnedTags><name/><nodeUsage/></returnedTags></ns:listProcessNode>";

#[test]
fn axl_lists_the_nodes_of_the_cluster_with_the_tags_asked_for() {
    let accounts = accounts();
    let password = accounts.world.administrator_password.clone();
    let (status, body) = ask(&accounts, ("admin", &password), "9.1", LIST);
    assert_eq!(status, 200, "{body}");
    for name in ["EnterpriseWideData", NODE, "imp1.example.test"] {
        assert!(body.contains(&format!("<name>{name}</name>")), "{body}");
    }
    assert!(!body.contains("<description>"), "{body}");
}

#[test]
fn axl_tells_roles_to_who_asks_by_a_schema_that_has_them() {
    let accounts = accounts();
    let password = accounts.world.administrator_password.clone();
    let list = LIST.replace("<nodeUsage/>", "<processNodeRole/>");
    let told = |schema| ask(&accounts, ("admin", &password), schema, &list).1;
    assert!(told("10.0").contains("<processNodeRole>CUCM IM and Presence</processNodeRole>"));
    assert!(!told("9.1").contains("processNodeRole"));
}

#[test]
fn axl_refuses_wrong_logins_versions_and_operations() {
    let accounts = accounts();
    let admin = accounts.world.administrator_password.clone();
    let alice = accounts.world.users[0].password.clone();
    assert_eq!(ask(&accounts, ("admin", "wrong"), "9.1", LIST).0, 401);
    assert_eq!(ask(&accounts, ("alice", &alice), "9.1", LIST).0, 403);
    assert_eq!(ask(&accounts, ("admin", &admin), "99.0", LIST).0, 599);
    let (status, body) = ask(&accounts, ("admin", &admin), "9.1", "<ns:makeTea/>");
    assert_eq!(status, 500);
    assert!(body.contains("axlcode"), "{body}");
}

#[test]
fn files_of_devices_and_profiles_are_well_formed_and_others_are_missing() {
    let accounts = accounts();
    let fetch = |name: &str| {
        let request = Request::of(Method::GET, &format!("/{name}"), None, "");
        files::answer(NODE, &accounts.world, &request)
    };
    for name in [
        "CSFALICE.cnf.xml",
        "CSFBOB.cnf.xml.sgn",
        "SPDefault.cnf.xml",
        "jabber-config.xml",
        "global-settings.xml",
        "XMLDefault.cnf.xml",
        "AppDialRules.xml",
    ] {
        document(&fetch(name));
    }
    assert!(
        fetch("CSFALICE.cnf.xml")
            .parts()
            .1
            .contains("<name>1001</name>")
    );
    assert_eq!(fetch("CSFNOBODY.cnf.xml").parts().0, 404);
    assert_eq!(fetch("../ca.pem").parts().0, 404);
}

#[test]
fn axl_tells_each_change_and_takes_it_back() {
    use crate::changes::{Change, RENAMED, SECOND};
    let accounts = accounts();
    let password = accounts.world.administrator_password.clone();
    let told = |inner: &str| ask(&accounts, ("admin", &password), "9.1", inner);
    let sql = "<ns:executeSQLQuery><sql>select name as v from processnode</sql>\
               </ns:executeSQLQuery>";
    let before = (told(LIST), told(sql));
    let set = |changes: &[Change]| accounts.world.changes.set(changes).unwrap();
    set(&[Change::NodeAdded]);
    assert!(told(LIST).1.contains(SECOND) && told(sql).1.contains(SECOND));
    set(&[Change::NodeAdded, Change::NodeRenamed]);
    assert!(told(LIST).1.contains(RENAMED) && !told(LIST).1.contains(SECOND));
    for (change, status) in [
        (Change::AxlOff, 404),
        (Change::AxlBusy, 503),
        (Change::AccountLocked, 401),
        (Change::RoleMissing, 403),
    ] {
        set(&[change]);
        assert_eq!(told(LIST).0, status, "{change:?}");
    }
    set(&[]);
    assert_eq!((told(LIST), told(sql)), before);
}
