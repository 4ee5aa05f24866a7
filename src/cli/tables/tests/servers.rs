//! Tables that servers answer for.

use super::*;

#[test]
fn servers_of_tables_and_of_their_members_are_shown() {
    let scene = Scene::new(
        "virtual_alias_maps = proxy:socketmap:unix:private/srs:m, proxy:tcp:[::1]:5000\n  \
         proxy:unionmap:{tcp:localhost:1,pipemap:{static:a,socketmap:inet:localhost:1:x}}\n  \
         proxy:socketmap:inet:h proxy:unionmap:{static:a,tcp:127.0.0.1:}\nvirtual_alias_domains =\n",
    );
    let (exit, json) = scene.json(&[]);
    assert_eq!(exit, Exit::Failure);
    for (name, state, servers) in [
        ("socketmap:unix:private/srs:m", "served", &["unix:private/srs"][..]),
        ("tcp:[::1]:5000", "served", &["inet:[::1]:5000"]),
        (
            "unionmap:{tcp:localhost:1,pipemap:{static:a,socketmap:inet:localhost:1:x}}",
            "served",
            &["inet:localhost:1"],
        ),
        ("socketmap:inet:h", "bad-name", &[]),
        ("unionmap:{static:a,tcp:127.0.0.1:}", "bad-name", &[]),
    ] {
        let told = table(&json, name);
        assert_eq!((&told["state"], &told["servers"]), (&state.into(), &servers.into()), "{name}");
    }
    let problem = |name| table(&json, name)["problem"].as_str().unwrap().to_owned();
    assert!(problem("socketmap:inet:h").contains("expected socketmap:inet:host:port:map"));
    assert!(problem("unionmap:{static:a,tcp:127.0.0.1:}").contains("the server's port is missing"));
    let (_, text) = scene.run(&[]);
    assert!(text.contains("\n    asked at inet:[::1]:5000, by a gateway\n"), "{text}");
}

#[test]
fn tables_of_servers_beyond_the_limit_are_not_served() {
    let names = |ports: std::ops::Range<u32>| -> String {
        ports.map(|port| format!(" proxy:tcp:127.0.0.1:{}", port + 1)).collect()
    };
    let most = mapkeep_proto::MAX_GATEWAYS;
    // Members come after all tables.
    let member = format!("unionmap:{{static:a,tcp:127.0.0.1:{}}}", most + 9);
    let scene = Scene::new(&format!("proxy_read_maps = proxy:{member}{}\n", names(0..most)));
    let (exit, json) = scene.json(&[]);
    assert_eq!(exit, Exit::Failure);
    assert_eq!(table(&json, &format!("tcp:127.0.0.1:{most}"))["state"], "served");
    let told = table(&json, &member);
    assert_eq!(told["state"], "not-served");
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains("more than 64") && problem.contains("a member"), "{problem}");
    let scene = Scene::new(&format!("proxy_read_maps ={}\n", names(0..most)));
    assert_eq!(scene.json(&[]).0, Exit::Success);
}
