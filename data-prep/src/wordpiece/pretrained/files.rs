//! The files of a tokenizer, and what they say.

use std::fs;
use std::path::{Path, PathBuf};

use ahash::AHashMap;
use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};

use crate::manifest::{MANIFEST_FILE, TOKENIZER_FILE, VOCAB_FILE};
use crate::placeholder::Placeholder;
use crate::wordpiece::special::Role;
use crate::wordpiece::{is_json, read_vocab, tokenizer_from_bytes, vocab_txt, TokenizerError};

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";
/// The model's, which names a type and, rarely, a class.
const MODEL_CONFIG: &str = "config.json";
/// The named special tokens of transformers, in its order; BERT's own have a [`Role`].
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The bytes of a file that must be there.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let bytes = fs::read(path).map_err(|source| TokenizerError::Io { path: path.to_owned(), source })?;
    match Placeholder::of(&bytes) {
        Some(what) => Err(TokenizerError::Placeholder { path: path.to_owned(), what }),
        None => Ok(bytes),
    }
}

/// Where a tokenizer is.
pub(super) struct Files {
    path: PathBuf,
    /// Where files that belong to it may be.
    folder: Option<PathBuf>,
    json: Option<PathBuf>,
    vocab: Option<PathBuf>,
}

impl Files {
    /// The files of a folder, or of a file with what lies beside it.
    pub(super) fn find(path: &Path) -> Result<Files, TokenizerError> {
        let there = |path: PathBuf| path.exists().then_some(path);
        let found = |folder, json, vocab| Files { path: path.to_owned(), folder, json, vocab };
        if path.is_dir() {
            return match (there(path.join(TOKENIZER_FILE)), there(path.join(VOCAB_FILE))) {
                (None, None) => Err(TokenizerError::NotThere { path: path.to_owned() }),
                (json, vocab) => Ok(found(Some(path.to_owned()), json, vocab)),
            };
        }
        let folder = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        let folder = |name: &str| folder.filter(|_| path.file_name().is_some_and(|found| found == name));
        if is_json(path) {
            return Ok(found(folder(TOKENIZER_FILE).map(Path::to_owned), Some(path.to_owned()), None));
        }
        let folder = folder(VOCAB_FILE);
        // In a folder of shards, tokenizer.json says everything about the same vocabulary.
        let whole = folder.filter(|folder| folder.join(MANIFEST_FILE).exists());
        let whole = whole.and_then(|folder| there(folder.join(TOKENIZER_FILE)));
        let whole = whole.filter(|json| is_of(json, path));
        Ok(found(folder.map(Path::to_owned), whole, Some(path.to_owned())))
    }

    /// What was asked for.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn json(&self) -> Option<&Path> {
        self.json.as_deref()
    }

    /// All that may decide.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let beside = [CONFIG, SPECIAL_TOKENS, ADDED_TOKENS, MODEL_CONFIG].into_iter();
        let beside = beside.filter_map(|name| Some(self.folder.as_ref()?.join(name))).filter(|path| path.exists());
        self.json.as_ref().or(self.vocab.as_ref()).cloned().into_iter().chain(beside).collect()
    }

    /// The tokens of vocab.txt, with their lines as ids. As in transformers, white space behind a token is no part of it.
    pub(super) fn vocabulary(&self) -> Result<AHashMap<String, u32>, TokenizerError> {
        let path = self.vocab.as_deref().unwrap_or(&self.path);
        let text = String::from_utf8(read(path)?)
            .map_err(|error| TokenizerError::Parse { path: path.to_owned(), message: error.to_string() })?;
        read_vocab(path, &text)
    }

    /// A JSON object beside the tokenizer; nothing if there is no such file.
    fn object(&self, name: &str) -> Result<Option<Map<String, Value>>, TokenizerError> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists()) else {
            return Ok(None);
        };
        match serde_json::from_slice(&read(&path)?) {
            Ok(Value::Object(fields)) => Ok(Some(fields)),
            Ok(_) => Err(TokenizerError::Parse { path, message: "expected a JSON object".to_owned() }),
            Err(error) => Err(TokenizerError::Parse { path, message: error.to_string() }),
        }
    }
}

/// Whether a tokenizer.json has the vocabulary of a vocab.txt.
fn is_of(json: &Path, vocab: &Path) -> bool {
    let tokenizer = fs::read(json).ok().and_then(|bytes| tokenizer_from_bytes(&bytes).ok());
    let text = fs::read_to_string(vocab).ok();
    matches!((tokenizer, text), (Some(tokenizer), Some(text)) if vocab_txt(&tokenizer).lines().eq(text.lines()))
}

/// What the files beside a tokenizer say.
pub(super) struct Settings {
    /// tokenizer_config.json, with special_tokens_map.json where that counts.
    fields: Map<String, Value>,
    path: PathBuf,
    /// `added_tokens.json`: token → id.
    added: Map<String, Value>,
    class: Option<String>,
    model_type: Option<String>,
    /// What the manifest of a folder of shards says.
    manifest: Said,
}

/// What files say about case and accents.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub(super) lowercase: Option<bool>,
    pub(super) strip_accents: Option<bool>,
}

impl Settings {
    pub(super) fn read(files: &Files) -> Result<Settings, TokenizerError> {
        let mut fields = files.object(CONFIG)?.unwrap_or_default();
        let model = files.object(MODEL_CONFIG)?.unwrap_or_default();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let class = text(fields.get("tokenizer_class")).or_else(|| text(model.get("tokenizer_class")));
        let mut added = Map::new();
        if !fields.contains_key("added_tokens_decoder") {
            // Files of earlier versions of transformers.
            fields.extend(files.object(SPECIAL_TOKENS)?.unwrap_or_default());
            added = files.object(ADDED_TOKENS)?.unwrap_or_default();
        }
        let manifest = files.object(MANIFEST_FILE)?.unwrap_or_default();
        let recorded = |key: &str| manifest.get("tokenizer").and_then(|found| found.get(key)?.as_bool());
        let manifest = Said { lowercase: recorded("lowercase"), strip_accents: recorded("strip_accents") };
        let path = files.folder.as_deref().unwrap_or(&files.path).join(CONFIG);
        let model_type = text(model.get("model_type"));
        Ok(Settings { fields, path, added, class, model_type, manifest })
    }

    /// How text is normalised: by tokenizer_config.json, else by the manifest.
    pub(super) fn casing(&self) -> Result<Said, TokenizerError> {
        let (lowercase, strip_accents) = (self.flag("do_lower_case")?, self.flag("strip_accents")?);
        Ok(match lowercase {
            // What the manifest says of accents goes with what it says of case.
            Some(_) => Said { lowercase, strip_accents },
            None => Said {
                lowercase: self.manifest.lowercase,
                strip_accents: strip_accents.or(self.manifest.strip_accents),
            },
        })
    }

    pub(super) fn class(&self) -> Option<&str> {
        self.class.as_deref()
    }

    pub(super) fn model_type(&self) -> Option<&str> {
        self.model_type.as_deref()
    }

    /// Whether transformers knows which class it is.
    pub(super) fn names_class(&self) -> bool {
        self.class.is_some() || self.model_type.is_some()
    }

    fn wrong(&self, key: &str, expected: &'static str, got: &Value) -> TokenizerError {
        TokenizerError::Setting { path: self.path.clone(), key: key.to_owned(), expected, got: got.to_string() }
    }

    /// A switch; null is none.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(key, "`true` or `false`", other)),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str()
    }

    /// Whether a model is told the segments; nothing if no file says.
    pub(super) fn input_has_types(&self) -> Result<Option<bool>, TokenizerError> {
        const KEY: &str = "model_input_names";
        match self.fields.get(KEY) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(names)) => Ok(Some(names.iter().any(|name| name == "token_type_ids"))),
            Some(other) => Err(self.wrong(KEY, "a list of names", other)),
        }
    }

    /// The name of a special token, where a file has one.
    pub(super) fn name(&self, role: Role) -> Option<String> {
        self.fields.get(role.key()).and_then(|value| token(value, true)).map(|token| token.content)
    }

    /// The tokens to add to a tokenizer, in the order in which transformers does; `defaults` are the names that its class has.
    pub(super) fn added_tokens(
        &self,
        files: &Files,
        tokenizer: &Tokenizer,
        defaults: &[Role],
    ) -> Result<Vec<AddedToken>, TokenizerError> {
        let mut listed = match self.fields.get("added_tokens_decoder") {
            Some(Value::Object(entries)) => self.listed(entries)?,
            Some(other) => return Err(self.wrong("added_tokens_decoder", "an object of ids and tokens", other)),
            None => self.stored(files)?,
        };
        listed.sort_by_key(|(id, _)| *id);
        let mut tokens: Vec<AddedToken> = listed.into_iter().map(|(_, token)| token).collect();
        let known = tokenizer.get_added_tokens_decoder();
        let mut named = Vec::new();
        for key in NAMED {
            let role = defaults.iter().find(|role| role.key() == key);
            match (self.fields.get(key).and_then(|value| token(value, true)), role) {
                (Some(found), _) => named.push(found),
                // A name that no file has counts as far as the vocabulary has it.
                (None, Some(role)) if tokenizer.token_to_id(role.standard()).is_some() => {
                    named.push(AddedToken::from(role.standard(), true));
                }
                (None, _) => {}
            }
        }
        // Names of a model's own, such as `entity_token`.
        let own = self.fields.iter().filter(|(key, _)| key.ends_with("_token") && !NAMED.contains(&key.as_str()));
        named.extend(own.filter_map(|(_, value)| token(value, true)));
        tokens.iter_mut().for_each(|token| token.special |= named.iter().any(|name| name.content == token.content));
        for token in named.into_iter().chain(self.additional()) {
            let is_there = |found: &AddedToken| found.content == token.content;
            if !tokens.iter().any(is_there) && !known.values().any(is_there) {
                tokens.push(token);
            }
        }
        Ok(tokens)
    }

    fn listed(&self, entries: &Map<String, Value>) -> Result<Vec<(u64, AddedToken)>, TokenizerError> {
        let entry = |(id, value): (&String, &Value)| match (id.parse().ok(), token(value, false)) {
            (Some(id), Some(token)) => Ok((id, token)),
            _ => Err(self.wrong("added_tokens_decoder", "an object of ids and tokens", value)),
        };
        entries.iter().map(entry).collect()
    }

    /// Those of added_tokens.json and tokenizer.json.
    fn stored(&self, files: &Files) -> Result<Vec<(u64, AddedToken)>, TokenizerError> {
        let names: Vec<String> =
            NAMED.iter().filter_map(|key| token(self.fields.get(*key)?, true)).map(|token| token.content).collect();
        let additional = self.additional();
        let is_special = |name: &String| names.contains(name) || additional.iter().any(|token| token.content == *name);
        let mut stored: Vec<(u64, AddedToken)> = Vec::new();
        for (name, id) in &self.added {
            let id = id.as_u64().ok_or_else(|| self.wrong(ADDED_TOKENS, "an object of tokens and ids", id))?;
            stored.push((id, AddedToken::from(name.clone(), is_special(name))));
        }
        let Some(json) = files.json() else { return Ok(stored) };
        let parsed: Value = serde_json::from_slice(&read(json)?)
            .map_err(|error| TokenizerError::Parse { path: json.to_owned(), message: error.to_string() })?;
        let entries = parsed.get("added_tokens").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            if let (Some(id), Some(token)) = (entry.get("id").and_then(Value::as_u64), token(entry, false)) {
                stored.retain(|(other, _)| *other != id);
                stored.push((id, token));
            }
        }
        Ok(stored)
    }

    /// The additional special tokens, by either of their names.
    fn additional(&self) -> Vec<AddedToken> {
        let lists =
            ["extra_special_tokens", "additional_special_tokens"].into_iter().filter_map(|key| self.fields.get(key));
        lists
            .flat_map(|value| match value {
                Value::Array(tokens) => tokens.iter().filter_map(|value| token(value, true)).collect::<Vec<_>>(),
                Value::Object(named) => named.values().filter_map(|value| token(value, true)).collect(),
                _ => Vec::new(),
            })
            .collect()
    }
}

/// A token as a file has it: its text alone, or an object. `special` is what it is where that is not said.
fn token(value: &Value, special: bool) -> Option<AddedToken> {
    if let Some(content) = value.as_str() {
        return Some(AddedToken::from(content, special));
    }
    let content = value.get("content")?.as_str()?;
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(special);
    let token = AddedToken::from(content, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(token.normalized(flag("normalized").unwrap_or(!special)))
}
