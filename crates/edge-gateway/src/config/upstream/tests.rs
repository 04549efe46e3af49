use crate::config::{Config, Plan};

fn refusal(upstream: &str) -> String {
    let text = format!(
        "[service]\nadmin = \"unix:/a\"\n[listen]\nhttps = \"127.0.0.1:1\"\n\
         [[certificates]]\ncert = \"a\"\nkey = \"b\"\n\
         [[routes]]\npath_prefix = \"/\"\nupstream = \"a\"\n[[upstreams]]\nname = \"a\"\n{upstream}"
    );
    match toml::from_str::<Config>(&text) {
        Ok(config) => Plan::new(&config).map_or_else(|error| error.to_string(), |_| "taken".to_owned()),
        Err(error) => error.message().to_owned(),
    }
}

#[test]
fn addresses_are_texts_or_tables_with_a_weight() {
    let taken = "addresses = [\"10.0.0.1:80\", { address = \"10.0.0.2:80\", weight = 3 }, \"unix:/a\", \"app.internal:80\"]\n";
    assert_eq!(refusal(taken), "taken");
    assert_eq!(refusal("addresses = [\"app:80\", \"app:81\"]\nmax_resolved = 64\ntls = {}\n"), "taken");
}

#[test]
fn a_mistake_is_named_with_its_key() {
    for (upstream, key) in [
        ("addresses = []\n", "upstreams.0.addresses"),
        ("addresses = [\"10.0.0.1:80\", \"10.0.0.1:80\"]\n", "upstreams.0.addresses.1"),
        ("addresses = [{ address = \"10.0.0.1:80\", weight = 0 }]\n", "upstreams.0.addresses.0.weight"),
        ("addresses = [{ address = \"10.0.0.1:80\", wieght = 1 }]\n", "wieght"),
        ("addresses = [\"10.0.0.1\"]\n", "IP:PORT"),
        ("addresses = [\"10.0.0.256:80\"]\n", "NAME:PORT"),
        ("addresses = [\"app.internal\"]\n", "NAME:PORT"),
        ("addresses = [\"app.internal:0\"]\n", "NAME:PORT"),
        ("addresses = [\"app..internal:80\"]\n", "NAME:PORT"),
        ("addresses = [\"-app:80\"]\n", "NAME:PORT"),
        ("addresses = [\"http://app:80\"]\n", "NAME:PORT"),
        ("addresses = [\"App:80\", \"app:80\"]\n", "upstreams.0.addresses.1"),
        ("addresses = [\"app:80\"]\nmax_resolved = 65\n", "upstreams.0.max_resolved"),
        ("addresses = [\"app:80\"]\nresolve_interval_ms = 99\n", "upstreams.0.resolve_interval_ms"),
        ("addresses = [\"app:80\", \"api:80\"]\ntls = {}\n", "upstreams.0.tls.server_name"),
        ("addresses = [\"app:80\", \"10.0.0.1:80\"]\ntls = {}\n", "upstreams.0.tls.server_name"),
        ("addresses = [\"unix:/a\"]\nbalance = \"random\"\n", "random"),
        ("addresses = [\"unix:/a\"]\nhash_key = \"ip\"\n", "upstreams.0.hash_key"),
        ("addresses = [\"unix:/a\"]\nbalance = \"hash\"\nhash_key = \"query:a\"\n", "upstreams.0.hash_key"),
        ("addresses = [\"unix:/a\"]\npanic_percent = 101\n", "upstreams.0.panic_percent"),
        ("addresses = [\"unix:/a\"]\nslow_start_ms = 3600001\n", "upstreams.0.slow_start_ms"),
        ("addresses = [\"unix:/a\"]\nprotocol = \"h3\"\n", "h3"),
        ("addresses = [\"unix:/a\"]\nprotocol = \"h2\"\n", "upstreams.0.protocol"),
        ("addresses = [\"1.2.3.4:5\"]\nprotocol = \"h2c\"\ntls = {}\n", "upstreams.0.protocol"),
        (
            "addresses = [\"unix:/a\"]\nprotocol = \"h2c\"\nproxy_protocol = \"v1\"\n",
            "upstreams.0.proxy_protocol",
        ),
        ("addresses = [\"unix:/a\"]\nproxy_protocol = \"v3\"\n", "v3"),
        ("addresses = [\"unix:/a\"]\nmax_streams = 0\n", "upstreams.0.max_streams"),
        ("addresses = [\"unix:/a\"]\ntls = {}\n", "upstreams.0.tls.server_name"),
        ("addresses = [\"1.2.3.4:5\"]\ntls = { server_name = \"a b\" }\n", "upstreams.0.tls.server_name"),
        ("addresses = [\"1.2.3.4:5\"]\ntls = { cert_file = \"/c\" }\n", "upstreams.0.tls.key_file"),
        ("addresses = [\"1.2.3.4:5\"]\ntls = { key_file = \"/c\" }\n", "upstreams.0.tls.cert_file"),
        ("addresses = [\"1.2.3.4:5\"]\ntls = { verify = false }\n", "verify"),
        (
            "addresses = [\"unix:/a\"]\nsticky = { cookie = \"a b\", key_file = \"/k\" }\n",
            "upstreams.0.sticky.cookie",
        ),
    ] {
        let refusal = refusal(upstream);
        assert!(refusal.contains(key), "{upstream}: {refusal}");
    }
}
