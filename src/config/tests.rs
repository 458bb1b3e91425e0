//! What configurations mean, and what wrong ones say.

use std::path::Path;

use super::definition::{Kind, Presence, Section};
use super::*;
use crate::decide::guard::GuardPlan;
use crate::decide::rollout::{Conduct, Stages, Steps};

fn read(text: &str) -> Result<Config, ConfigError> {
    from_text(text, Path::new("serin.yaml"))
}

fn errors(text: &str) -> String {
    read(text).expect_err("this is wrong").to_string()
}

#[test]
fn three_lines_are_a_full_configuration() {
    let config = read("listen: 0.0.0.0:8080\nstable: http://127.0.0.1:3000\ncanary: http://127.0.0.1:3001\n").unwrap();
    let service = &config.services[0];
    assert!(config.three_lines);
    assert_eq!((service.name.as_str(), service.stable, service.canary), ("default", 0, Some(1)));
    assert_eq!(service.pools[1].name, "b");
    assert_eq!(service.deploy.stages, Stages::of_the_guide());
    assert_eq!(config.state_directory, Path::new("config/observability"));
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9900");
}

#[test]
fn the_defaults_of_a_deployment_are_those_of_the_core() {
    let config = read("listen: 0.0.0.0:8080\nstable: http://127.0.0.1:3000").unwrap();
    let deploy = &config.services[0].deploy;
    assert_eq!(deploy.guard, GuardPlan::default());
    assert_eq!(deploy.conduct, Conduct::default());
    assert_eq!(deploy.steps, Steps::default());
}

/// Reading them all is what every test here does; that each is YAML of its key's kind is not.
#[test]
fn every_default_is_what_the_schema_allows() {
    fn look(section: &'static Section, looked: &mut usize) {
        for key in section.keys {
            *looked += 1;
            if let Presence::Default(text) = key.presence {
                assert!(serde_yaml::from_str::<serde_yaml::Value>(text).is_ok_and(|value| !value.is_null()), "{text}");
            }
            assert!(!key.about.is_empty() && !key.about.ends_with('.'), "{}", key.name);
            inner(&key.kind, looked);
        }
    }
    fn inner(kind: &'static Kind, looked: &mut usize) {
        match kind {
            Kind::Section(section) => look(section, looked),
            Kind::Names(kind) | Kind::List(kind) | Kind::OneOrMany(kind) => inner(kind, looked),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| inner(kind, looked)),
            _ => {}
        }
    }
    let mut looked = 0;
    look(&keys::TOP, &mut looked);
    look(&keys::SCENARIO, &mut looked);
    assert!(looked > 130, "{looked}");
}

#[test]
fn without_a_canary_it_is_a_proxy_with_flags() {
    let config = read("listen: '[::1]:0'\nstable: [http://app:3000, 'http://[::1]:3001']").unwrap();
    assert_eq!(config.services[0].canary, None);
    assert_eq!(config.services[0].pools[0].endpoints[1].to_string(), "http://[::1]:3001");
}

#[test]
fn every_error_names_place_finding_and_remedy() {
    let text = "\
listen: 0.0.0.0:8080
services:
  shop:
    poools: {}
    pools:
      blue: { endpoints: [ 'ftp://10.0.0.1' ] }
    stable: bleu
    deploy:
      stages:
        - { percentage: 130, duration: 5m, minRequests: 0, maxErrorRate: 0.05 }
      bake: ten minutes
limits: { headerBytes: 12KB }
";
    let errors = errors(text);
    for expected in [
        "serin.yaml:4:5: unknown key `poools`\n  hint: did you mean `pools`?",
        "serin.yaml:6:28: services.shop.pools.blue.endpoints[0] is \"ftp://10.0.0.1\"; an app server's address",
        "serin.yaml:10:13: services.shop.deploy.stages[0].percentage is 130; a percentage is from 0 to 100",
        "serin.yaml:11:7: services.shop.deploy.bake is \"ten minutes\"; a duration is seconds",
        "serin.yaml:12:11: limits.headerBytes is \"12KB\"; a size from 1024",
    ] {
        assert!(errors.contains(expected), "{expected}\nis not in\n{errors}");
    }
}

#[test]
fn broken_yaml_names_its_place() {
    assert!(errors("listen: [1, 2\nstable: x").starts_with("serin.yaml:2:"), "{}", errors("listen: [1, 2\nstable: x"));
    assert!(errors("listen: a\nlisten: b").contains("stands here twice"));
    assert!(errors("").contains("a mapping is expected"));
}

#[test]
fn a_role_is_one_of_the_services_pools() {
    let text =
        "listen: 0.0.0.0:1\nservices:\n  s:\n    pools:\n      blue: { endpoints: http://a }\n    stable: bleu\n";
    assert!(
        errors(text).contains("serin.yaml:6:5: services.s.stable is \"bleu\"; allowed are this service's pools: blue")
    );
}

#[test]
fn stages_that_do_not_grow_to_everybody_are_refused() {
    let with = |percentages: &str| {
        format!(
            "listen: 0.0.0.0:1\nservices:\n  s:\n    pools: {{ a: {{ endpoints: http://a }} }}\n    stable: a\n    \
             deploy: {{ stages: [ {percentages} ] }}\n"
        )
    };
    let stage = |percent: u8| format!("{{ percentage: {percent}, duration: 1m, maxErrorRate: 0.1 }}");
    assert!(read(&with(&[stage(10), stage(100)].join(","))).is_ok());
    assert!(errors(&with(&stage(10))).contains("the last stage is at 100 percent"));
    assert!(errors(&with(&[stage(100), stage(10)].join(","))).contains("stages[1].percentage is 10 %"));
    assert!(errors(&with("")).contains("stages is empty"));
}

#[test]
fn beyond_loopback_the_admin_api_needs_tokens_and_a_word_on_plain_text() {
    let text = "listen: 0.0.0.0:1\nstable: http://a\nadmin: { address: 0.0.0.0:9900 }";
    let errors = errors(text);
    assert!(errors.contains("needs `tokens`") && errors.contains("`plaintext: true`"), "{errors}");
}

#[test]
fn both_parsers_read_alike() {
    // A place for every value that serde_yaml finds: anchors, quotes, blocks, flow and nesting.
    let text = "a: &x { b: [1, 'two', {c: 3}] }\n\"d e\": |\n  block\nf:\n- g: *x\n- >-\n  folded\nh: ~\n1: 2\n";
    let document = document::Document::parse(text, Path::new("t")).unwrap();
    let expected = [("a", 1, 1), ("a.b", 1, 9), ("a.b[2].c", 1, 24), ("d e", 2, 1), ("f[1]", 7, 3), ("1", 9, 1)];
    for (path, line, column) in expected {
        let at = document.place(path);
        assert_eq!((at.line, at.column), (line, column), "{path}");
    }
    // What an alias brings stands where the alias stands.
    assert_eq!(document.place("f[0].g.b[1]").line, 5);
}
