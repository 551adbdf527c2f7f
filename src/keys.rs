//! What each key of a configuration is for: whether it decides what is trained, where and how that is computed, or how it is
//! watched.
//!
//! Every table declares the class of each of its keys beside its definition, with `classes!`; a key without a class does not
//! compile. Whoever compares configurations asks [`class_of`]: a run that goes on, a row of `untie table`, a sweep.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a key is for. The first three decide what is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Another value makes another run; a run goes on with the same only.
    Identity,
    /// The same, and it says where in the data a step is: with another value the place of a run would be another, which no
    /// override makes right.
    Order,
    /// Another value makes another result, but a run or a sweep may go on with it: how long it is, what it is measured on.
    Open,
    /// Where and how it is computed: the same up to rounding and the draws of dropout. What the data are is compared by their hash,
    /// so the folder that they lie in is here too.
    Placement,
    /// How it is watched and saved.
    Observation,
    /// A table, or a list of tables, whose keys have classes of their own.
    Table(Classes),
}

/// The class of each key of a table.
pub type Classes = &'static [(&'static str, Class)];

/// A table of a configuration.
pub trait Keys {
    /// The class of each of its keys.
    const CLASSES: Classes;
}

impl Class {
    /// Whether configurations that differ in it give different results, beyond rounding and the draws of dropout.
    pub fn decides_result(self) -> bool {
        matches!(self, Self::Identity | Self::Order | Self::Open)
    }

    /// Whether a run or sweep that has begun must keep its value.
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::Identity | Self::Order)
    }
}

/// The class of `key`, as [`flatten`] writes it, in the tables with `classes`. A key that they do not have, of another version of
/// untie, counts as identity.
pub fn class_of(classes: Classes, key: &str) -> Class {
    let mut found = Class::Table(classes);
    // A number is a place in a list of tables.
    for name in key.split('.').filter(|name| name.parse::<usize>().is_err()) {
        let Class::Table(inner) = found else { break };
        found = inner.iter().find(|(known, _)| *known == name).map_or(Class::Identity, |(_, class)| *class);
    }
    match found {
        Class::Table(_) => Class::Identity,
        class => class,
    }
}

/// `{"a": {"b": 1}}` as `a.b` → 1, and the tables of a list by their numbers; other lists are values.
pub fn flatten(value: &Value) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    walk(&key, field, flat);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (number, item) in items.iter().enumerate() {
                    walk(&format!("{prefix}.{number}"), item, flat);
                }
            }
            other => {
                flat.insert(prefix.into(), other.clone());
            }
        }
    }
    let mut flat = BTreeMap::new();
    walk("", value, &mut flat);
    flat
}

/// Removes from `table` the keys that `classes` does not have, also in the tables and lists of tables inside it.
pub fn keep_known(table: &mut Value, classes: Classes) {
    match table {
        Value::Object(fields) => {
            fields.retain(|name, _| classes.iter().any(|(known, _)| known == name));
            for (name, class) in classes {
                if let (Some(field), Class::Table(inner)) = (fields.get_mut(*name), class) {
                    keep_known(field, inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| keep_known(item, classes)),
        _ => {}
    }
}

/// Declares the class of every field of a table: `classes! { Table { Class: key, key; Class: key; } }`, and behind that
/// `with key: Inner` for a field that is a table, or a list of tables, itself.
macro_rules! classes {
    ($table:ident {
        $($class:ident: $($key:ident),+;)*
    } $(with $($inner:ident: $type:ty),+)?) => {
        impl $crate::keys::Keys for $table {
            const CLASSES: $crate::keys::Classes = &[
                $($((stringify!($key), $crate::keys::Class::$class),)+)*
                $($((stringify!($inner), $crate::keys::Class::Table(<$type as $crate::keys::Keys>::CLASSES)),)+)?
            ];
        }
        // Names every field, so that one without a class, or with two, does not compile.
        const _: fn($table) = |$table { $($($key: _,)+)* $($($inner: _,)+)? }| ();
    };
}
pub(crate) use classes;

/// For tests: the keys with a class are those that a file may have, by the list that serde gives where one is unknown.
#[cfg(test)]
pub(crate) fn assert_names<T: Keys + serde::de::DeserializeOwned + std::fmt::Debug>() {
    let message = serde_json::from_str::<T>(r#"{"?": 0}"#).unwrap_err().to_string();
    let list = message.split("expected ").nth(1).unwrap();
    let mut of_serde: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    let mut of_classes: Vec<&str> = T::CLASSES.iter().map(|(key, _)| *key).collect();
    of_serde.sort_unstable();
    of_classes.sort_unstable();
    assert_eq!(of_classes, of_serde, "{message}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Inner {
        depth: u8,
        place: u8,
    }
    struct Outer {
        size: u8,
        noise: u8,
        list: Vec<Inner>,
    }
    classes! { Inner {
        Order: depth;
        Placement: place;
    } }
    classes! { Outer {
        Open: size;
        Observation: noise;
    } with list: Inner }

    #[test]
    fn keys_are_found_through_tables_and_lists() {
        let outer = Outer { size: 1, noise: 2, list: vec![Inner { depth: 3, place: 4 }] };
        let Outer { size, noise, list } = outer;
        let value = json!({
            "size": size, "noise": noise, "list": [{ "depth": list[0].depth, "place": list[0].place }]
        });
        let classes: Vec<(String, Class)> =
            flatten(&value).into_keys().map(|key| (key.clone(), class_of(Outer::CLASSES, &key))).collect();
        let expected = [
            ("list.0.depth", Class::Order),
            ("list.0.place", Class::Placement),
            ("noise", Class::Observation),
            ("size", Class::Open),
        ];
        assert_eq!(classes, expected.map(|(key, class)| (key.to_owned(), class)));
        for unknown in ["gone", "list.0.gone", "list", "gone.size"] {
            assert_eq!(class_of(Outer::CLASSES, unknown), Class::Identity, "{unknown}");
        }
        // What is below a key with a class is part of its value.
        assert_eq!(class_of(Outer::CLASSES, "noise.level"), Class::Observation);
    }

    #[test]
    fn classes_say_what_may_differ() {
        use Class::{Identity, Observation, Open, Order, Placement};
        let all = [Identity, Order, Open, Placement, Observation];
        assert_eq!(all.map(Class::decides_result), [true, true, true, false, false]);
        assert_eq!(all.map(Class::is_fixed), [true, true, false, false, false]);
    }
}
