//! `admin`: address, tokens; and secrets, which stand in variables.

use super::{address, all, tls};
use crate::config::checked::{Admin, Secret, Token};
use crate::config::keys;
use crate::config::node::Node;
use crate::tls::ServerTls;

/// Shorter ones are guessed.
const SECRET_BYTES_MIN: usize = 16;

pub(super) fn admin(node: &Node<'_>) -> Option<Admin> {
    let map = node.map()?;
    let address = map.read("address", address);
    let hosts = map.read("hosts", |node| all(node.list()?.iter().map(Node::text)));
    let tokens = map.read("tokens", |node| all(node.list()?.iter().map(token)));
    let plaintext = map.read("plaintext", Node::boolean);
    let tls = map.maybe("tls", |node| tls::server(node, ServerTls::http1));
    let (address, tokens, plaintext, tls) = (address?, tokens?, plaintext?, tls?);
    if !address.ip().is_loopback() {
        let place = map.given("address").unwrap_or_else(|| node.clone());
        if tokens.is_empty() {
            let hint = "admin.tokens: [ { name: ci, env: SERIN_ADMIN_TOKEN, role: write } ]".to_owned();
            place.wrong("beyond loopback the admin API needs `tokens`".to_owned(), Some(hint));
        }
        if !plaintext && tls.is_none() {
            let hint = "`tls` encrypts them; `plaintext: true` says that the network between is yours".to_owned();
            place.wrong("beyond loopback the admin API would send tokens in plain text".to_owned(), Some(hint));
        }
    }
    for (index, token) in tokens.iter().enumerate() {
        if tokens[..index].iter().any(|other| other.name == token.name || other.secret == token.secret) {
            node.wrong(format!("{}.tokens: `{}` has the name or the text of another one", node.path, token.name), None);
        }
    }
    Some(Admin { address, hosts: hosts?, tokens, tls })
}

fn token(node: &Node<'_>) -> Option<Token> {
    let map = node.map()?;
    let (name, secret) = (map.read("name", Node::text), map.read("env", variable));
    let role = map.read("role", |node| node.word(&keys::ROLES));
    Some(Token { name: name?, secret: secret?, role: role? })
}

/// A secret in a variable of the process.
fn variable(node: &Node<'_>) -> Option<Secret> {
    let name = node.text()?;
    match std::env::var(&name) {
        Ok(text) if text.len() >= SECRET_BYTES_MIN && text.bytes().all(|b| (0x21..0x7f).contains(&b)) => {
            Some(Secret::new(&text))
        }
        Ok(_) => {
            node.expected(&format!("the variable's value must be at least {SECRET_BYTES_MIN} visible ASCII characters"))
        }
        Err(_) => node.expected("the variable is not set"),
    }
}

pub(super) fn secret(node: &Node<'_>) -> Option<Secret> {
    node.map()?.read("env", variable)
}
