use std::fmt;

use serde_json::{Map, Value};

/// The parts of an option's value: `tap,id=net0,ifname=tap0`, or the same as a JSON object.
#[derive(Debug, Clone, PartialEq)]
pub enum Options {
    /// Parts between commas; a comma inside a part is written twice.
    Parts(Vec<Part>),
    /// A JSON object, as management programs write it.
    Json(Map<String, Value>),
}

/// One part between commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What stands before the first `=`, if there is one.
    pub key: Option<String>,
    /// The rest.
    pub value: String,
}

impl Part {
    fn read(text: String) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: Some(key.to_owned()), value: value.to_owned() },
            None => Self { key: None, value: text },
        }
    }

    fn is(&self, key: &str) -> bool {
        self.key.as_deref() == Some(key)
    }
}

impl Options {
    /// Reads a value. Whatever is not a JSON object is read as parts, so this never fails.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.starts_with('{')
            && let Ok(map) = serde_json::from_str(text)
        {
            return Self::Json(map);
        }
        let mut parts = Vec::new();
        let mut part = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == ',' && letters.next_if_eq(&',').is_none() {
                parts.push(Part::read(std::mem::take(&mut part)));
            } else {
                part.push(letter);
            }
        }
        parts.push(Part::read(part));
        Self::Parts(parts)
    }

    /// The kind of thing, which may be the first part without its key: `tap` in `tap,id=net0`;
    /// `key` is its name in full, such as `type`.
    #[must_use]
    pub fn kind(&self, key: &str) -> Option<&str> {
        match self {
            Self::Parts(parts) => match parts.first() {
                Some(Part { key: None, value }) => Some(value),
                _ => self.get(key),
            },
            Self::Json(_) => self.get(key),
        }
    }

    /// Sets what [`Options::kind`] reads.
    pub fn set_kind(&mut self, key: &str, kind: &str) {
        match self {
            Self::Parts(parts) => match parts.first_mut() {
                Some(Part { key: None, value }) => kind.clone_into(value),
                _ => self.set(key, kind),
            },
            Self::Json(_) => self.set(key, kind),
        }
    }

    /// The text of a key; of several, the last, as in QEMU. In JSON, only keys with text.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        match self {
            Self::Parts(parts) => {
                parts.iter().rev().find(|part| part.is(key)).map(|part| part.value.as_str())
            }
            Self::Json(map) => map.get(key)?.as_str(),
        }
    }

    /// Whether a key is on: `server=on`, `server=true`, or in the short form `server`.
    #[must_use]
    pub fn is_on(&self, key: &str) -> bool {
        match self {
            Self::Parts(parts) => parts.iter().any(|part| match &part.key {
                Some(name) => name == key && matches!(part.value.as_str(), "on" | "yes" | "true"),
                None => part.value == key,
            }),
            Self::Json(map) => {
                matches!(map.get(key), Some(Value::Bool(true)))
                    || matches!(self.get(key), Some("on" | "yes" | "true"))
            }
        }
    }

    /// Whether a key occurs at all, also in the short form.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::Parts(parts) => parts.iter().any(|part| match &part.key {
                Some(name) => name == key,
                None => part.value == key,
            }),
            Self::Json(map) => map.contains_key(key),
        }
    }

    /// Gives a key this text, in its place if it has one, at the end otherwise.
    pub fn set(&mut self, key: &str, value: &str) {
        match self {
            Self::Parts(parts) => match parts.iter_mut().rev().find(|part| part.is(key)) {
                Some(part) => value.clone_into(&mut part.value),
                None => {
                    parts.push(Part { key: Some(key.to_owned()), value: value.to_owned() });
                }
            },
            Self::Json(map) => {
                map.insert(key.to_owned(), Value::String(value.to_owned()));
            }
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) {
        match self {
            Self::Parts(parts) => parts.retain(|part| !part.is(key)),
            Self::Json(map) => {
                map.remove(key);
            }
        }
    }

    /// Every text in the value, however deep.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
            match value {
                Value::String(text) => texts.push(text),
                Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
                Value::Object(map) => map.values().for_each(|item| collect(item, texts)),
                _ => {}
            }
        }
        match self {
            Self::Parts(parts) => parts.iter().map(|part| part.value.as_str()).collect(),
            Self::Json(map) => {
                let mut texts = Vec::new();
                map.values().for_each(|value| collect(value, &mut texts));
                texts
            }
        }
    }
}

/// Writes a comma twice.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(map) => f.write_str(&serde_json::to_string(map).map_err(|_| fmt::Error)?),
            Self::Parts(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    match &part.key {
                        Some(key) => {
                            write!(f, "{comma}{}={}", escape(key), escape(&part.value))?;
                        }
                        None => write!(f, "{comma}{}", escape(&part.value))?,
                    }
                }
                Ok(())
            }
        }
    }
}
