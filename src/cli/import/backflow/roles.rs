//! `rbac` and `tenantRbac` into `roles`.
//! Grants nothing that cannot be said as a scope, and refuses a role that inherits from nowhere or from itself.

use serde_json::Value;

use super::super::draft::Draft;
use super::super::{kind_of, strangers, yaml};
use crate::scope::Scope;

struct Role<'a> {
    name: &'a str,
    description: Option<&'a str>,
    parent: Option<&'a str>,
    scopes: Vec<&'a str>,
}

/// The section, where there is any role to speak of.
pub fn roles(document: &Value, draft: &mut Draft<'_>) -> Option<String> {
    let (platform, tenant) = (section(document, "rbac", draft), section(document, "tenantRbac", draft));
    let list = match tenant.and_then(|tenant| tenant.get("roles")) {
        None => &[][..],
        Some(Value::Array(list)) => list,
        Some(other) => {
            draft.fault(format!("`tenantRbac.roles` is {}; it is a list", kind_of(other)));
            &[]
        }
    };
    let mut roles: Vec<Role<'_>> = list.iter().enumerate().filter_map(|(index, role)| read(role, index, draft)).collect();
    check(&roles, draft);
    let default = default(platform, tenant, draft);
    if let Some(name) = default.filter(|name| !roles.iter().any(|role| role.name == *name)) {
        roles.push(Role { name, description: None, parent: None, scopes: Vec::new() });
        draft.note(format!("role `{}` has its permissions in Backflow's database; add them as scopes under `roles`", name.escape_debug()));
    }
    if platform.is_some() {
        draft.note("`rbac`: roles and assignments in Backflow's database were not read; a role comes from the token's claim `role`, or from `POST /rbac/assign`");
    }
    if roles.is_empty() {
        return None;
    }
    let mut text = String::from("roles:\n");
    if let Some(default) = default {
        text.push_str(&format!("  default: {}\n", yaml::text(default)));
    }
    for role in &roles {
        let inherits = role.parent.map(|parent| format!("inherits: {}, ", yaml::list([parent]))).unwrap_or_default();
        let description = role.description.map(|description| format!("   {}", yaml::comment(description))).unwrap_or_default();
        text.push_str(&format!("  {}: {{{inherits}scopes: {}}}{description}\n", yaml::text(role.name), yaml::list(role.scopes.iter().copied())));
    }
    Some(text)
}

/// A section that is switched on.
fn section<'a>(document: &'a Value, name: &str, draft: &mut Draft<'_>) -> Option<&'a Value> {
    let section = document.get(name)?;
    let rest = strangers(section, &format!("{name}."), &["enabled", "defaultRole", "roles"]);
    if !rest.is_empty() {
        draft.note(format!("without counterpart: {}", rest.join(", ")));
    }
    if section.get("enabled") == Some(&Value::Bool(false)) {
        draft.note(format!("`{name}` is switched off, and was not read"));
        return None;
    }
    Some(section)
}

fn default<'a>(platform: Option<&'a Value>, tenant: Option<&'a Value>, draft: &mut Draft<'_>) -> Option<&'a str> {
    let mut said = |section: Option<&'a Value>, name: &str| {
        let value = section?.get("defaultRole")?;
        if value.as_str().is_none_or(|role| !is_name(role)) {
            draft.fault(format!("`{name}.defaultRole` is no name of a role"));
        }
        value.as_str()
    };
    match (said(platform, "rbac"), said(tenant, "tenantRbac")) {
        (Some(one), Some(other)) if one != other => {
            draft.note("`tenantRbac.defaultRole` is another than `rbac.defaultRole`, which protects the routes and was taken");
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

fn read<'a>(role: &'a Value, index: usize, draft: &mut Draft<'_>) -> Option<Role<'a>> {
    let place = format!("tenantRbac.roles[{index}]");
    let Some(name) = role.get("name").and_then(Value::as_str).filter(|name| is_name(name)) else {
        draft.fault(format!("`{place}.name` is missing, or no name; a role is 1 to 256 visible ASCII characters, and not `default`"));
        return None;
    };
    let rest = strangers(role, &format!("{place}."), &["name", "description", "permissions", "parentRole"]);
    if !rest.is_empty() {
        draft.note(format!("without counterpart: {}", rest.join(", ")));
    }
    let mut scopes = Vec::new();
    match role.get("permissions") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for permission in list {
                match permission.as_str().map(|text| (text, Scope::parse(text))) {
                    Some((text, Ok(_))) => scopes.push(text),
                    Some((text, Err(fault))) => {
                        draft.note(format!("role `{name}`: permission `{}` is left out, because as a scope it {fault}", text.escape_debug()));
                    }
                    None => draft.fault(format!("`{place}.permissions` has {}; a permission is a text", kind_of(permission))),
                }
            }
        }
        Some(other) => draft.fault(format!("`{place}.permissions` is {}; it is a list", kind_of(other))),
    }
    let parent = role.get("parentRole").filter(|parent| !parent.is_null());
    if parent.is_some_and(|parent| !parent.is_string()) {
        draft.fault(format!("`{place}.parentRole` is no name of a role"));
    }
    Some(Role { name, description: role.get("description").and_then(Value::as_str), parent: parent.and_then(Value::as_str), scopes })
}

fn is_name(name: &str) -> bool {
    name != "default" && (1..=256).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Every role once, every parent there, and no role its own ancestor.
fn check(roles: &[Role<'_>], draft: &mut Draft<'_>) {
    let find = |name: &str| roles.iter().find(|role| role.name == name);
    for (index, role) in roles.iter().enumerate() {
        if roles.iter().take(index).any(|other| other.name == role.name) {
            draft.fault(format!("role `{}` stands twice in `tenantRbac.roles`; keep one", role.name));
        }
        if let Some(parent) = role.parent.filter(|parent| find(parent).is_none()) {
            draft.fault(format!("role `{}` has the parent `{}`, which is not in `tenantRbac.roles`", role.name, parent.escape_debug()));
        }
        let mut ancestor = role;
        for _ in 0..roles.len() {
            match ancestor.parent.and_then(find) {
                Some(parent) if parent.name == role.name => {
                    draft.fault(format!("role `{}` is its own ancestor by `parentRole`", role.name));
                    break;
                }
                Some(parent) => ancestor = parent,
                None => break,
            }
        }
    }
}
