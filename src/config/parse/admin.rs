//! `admin`: address, tokens; and secrets, which stand in variables.

use std::net::SocketAddr;

use super::{address, all, or};
use crate::config::checked::{Admin, Secret, Token, TokenRole};
use crate::config::node::{Map, Node};

/// Shorter ones are guessed.
const SECRET_BYTES_MIN: usize = 16;

pub(super) fn admin(map: &Map<'_>) -> Option<Admin> {
    let default = SocketAddr::from(([127, 0, 0, 1], 9900));
    let Some(node) = map.get("admin") else {
        return Some(Admin { address: default, hosts: Vec::new(), tokens: Vec::new() });
    };
    let map = node.keys(&["address", "hosts", "tokens", "plaintext"])?;
    let address = or(map.get("address"), default, address);
    let hosts = or(map.get("hosts"), Vec::new(), |node| all(node.list()?.iter().map(Node::text)));
    let tokens = or(map.get("tokens"), Vec::new(), |node| all(node.list()?.iter().map(token)));
    let plaintext = or(map.get("plaintext"), false, Node::boolean);
    let (address, tokens, plaintext) = (address?, tokens?, plaintext?);
    if !address.ip().is_loopback() {
        let place = map.get("address").unwrap_or_else(|| node.clone());
        if tokens.is_empty() {
            place.wrong("beyond loopback the admin API needs `tokens`".to_owned(), None);
        }
        if !plaintext {
            let hint = "`plaintext: true` says that the network between is yours".to_owned();
            place.wrong("beyond loopback the admin API would send tokens in plain text".to_owned(), Some(hint));
        }
    }
    for (index, token) in tokens.iter().enumerate() {
        if tokens[..index].iter().any(|other| other.name == token.name || other.secret == token.secret) {
            node.wrong(format!("{}.tokens: `{}` has the name or the text of another one", node.path, token.name), None);
        }
    }
    Some(Admin { address, hosts: hosts?, tokens })
}

fn token(node: &Node<'_>) -> Option<Token> {
    let map = node.keys(&["name", "env", "role"])?;
    let roles = [("write", TokenRole::Write), ("read", TokenRole::Read), ("record", TokenRole::Record)];
    let name = map.require("name", "the name in the audit line").and_then(|node| node.text());
    let secret = map.require("env", "the variable that holds the token").and_then(|node| variable(&node));
    let role = map.require("role", "write, read or record").and_then(|node| node.word(&roles));
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
    node.keys(&["env"])?.require("env", "the variable that holds the secret").and_then(|node| variable(&node))
}
