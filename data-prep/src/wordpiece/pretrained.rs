//! The tokenizer that Hugging Face transformers makes of the same files: the one place that decides what a folder's tokenizer is.
//!
//! In: a folder, or a `tokenizer.json` or `vocab.txt` in it. Out: a [`Tokenizer`] whose ids, segments and special tokens are
//! those of `AutoTokenizer.from_pretrained` (transformers 5). Its rules, found by experiment and in its source:
//!
//! - The class is `tokenizer_class` of tokenizer_config.json, else that of config.json, else the one of its `model_type`.
//! - `BertTokenizer` takes the vocabulary alone, of tokenizer.json or else of vocab.txt, and builds the rest anew: normaliser by
//!   `do_lower_case` (true where nothing is said), `strip_accents` and `tokenize_chinese_chars`, and `[CLS]` and `[SEP]` around
//!   texts. What tokenizer.json says about these does not count.
//! - Other names of a class (`PreTrainedTokenizerFast`) take tokenizer.json as it is.
//! - Added tokens are those of tokenizer_config.json, else of added_tokens.json and tokenizer.json; then the named special
//!   tokens and the additional ones, as far as they are missing.
//! - Without `token_type_ids` in `model_input_names` a model sees segment 0 only.
//!
//! Where transformers needs a class and no file names one (a folder that `prepare` made, a file of its own), tokenizer.json is
//! taken as it is, and gets `[CLS]` and `[SEP]` where it has no post-processor. Cost: reading the files.

mod class;
mod files;
pub(super) mod template;

use std::path::Path;

use ahash::AHashMap;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{ModelWrapper, Tokenizer, TruncationParams};

use super::special::Role;
use super::{around_vocabulary, check, hash, kind, tokenizer_from_bytes, Casing, TokenizerError, CONTINUATION};
use class::Class;
use files::{Files, Settings};

/// A tokenizer, and what a person should know about it.
#[derive(Debug)]
pub struct Pretrained {
    /// The tokenizer, without padding; its truncation says nothing but the side, where that is the left one.
    pub tokenizer: Tokenizer,
    /// Whether the files say how text is normalised; a vocabulary alone does not.
    pub says_case: bool,
    /// What may surprise, a sentence each.
    pub notes: Vec<String>,
}

impl Pretrained {
    /// The tokenizer for shards, in whose text the named special tokens are text. Where it puts nothing around texts it puts
    /// `[CLS]` and `[SEP]` from here on, for pre-training does.
    ///
    /// # Errors
    /// If it is no WordPiece tokenizer, has gaps in its ids or lacks a special token.
    pub fn for_shards(self) -> Result<Tokenizer, TokenizerError> {
        let mut tokenizer = self.tokenizer;
        tokenizer.with_truncation(None).map_err(failed)?;
        tokenizer.set_encode_special_tokens(true);
        check(&tokenizer)?;
        if tokenizer.encode("", true).map_err(failed)?.is_empty() {
            if let (Some((cls, _)), Some((sep, _))) = (Role::Cls.token(&tokenizer), Role::Sep.token(&tokenizer)) {
                let template = template::bert(&tokenizer, &cls, &sep)?;
                tokenizer.with_post_processor(template);
            }
        }
        Ok(tokenizer)
    }
}

/// Opens the tokenizer of a folder, a `tokenizer.json` or a `vocab.txt`; the files beside a file of these names count too.
/// `casing` says how text is normalised where no file does; `true` stands for that of BERT's uncased models.
///
/// # Errors
/// If there is no tokenizer, if a file is damaged, or if the tokenizer is of a kind that is not read.
pub fn open(path: &Path, casing: impl Into<Casing>) -> Result<Pretrained, TokenizerError> {
    let files = Files::find(path)?;
    let settings = Settings::read(&files)?;
    let class = class::of(&settings, &files)?;
    let stored = files.json().map(read_json).transpose()?;
    let (mut says_case, mut notes) = (true, Vec::new());
    let mut tokenizer = match (class, stored) {
        (Class::AsItIs { .. }, Some(stored)) => stored,
        (_, stored) => {
            let said = settings.casing()?;
            says_case = said.lowercase.is_some() || settings.names_class();
            let vocabulary = match &stored {
                Some(stored) => model_vocabulary(stored)?,
                None => files.vocabulary()?,
            };
            // Where transformers knows the class, its default counts.
            let is_default = said.lowercase.is_none() && settings.names_class();
            if is_default && has_capitals(&vocabulary) {
                notes.push(format!(
                    "`{}` has tokens with capital letters, but no file says `do_lower_case`: text is lower-cased, as in \
                     transformers",
                    path.display()
                ));
            }
            let otherwise = if says_case { Casing::from(true) } else { casing.into() };
            let casing = Casing {
                lowercase: said.lowercase.unwrap_or(otherwise.lowercase),
                strip_accents: said.strip_accents.or(otherwise.strip_accents),
            };
            bert(vocabulary, &settings, casing)?
        }
    };
    tokenizer.with_padding(None);
    let is_left = match settings.text("truncation_side") {
        Some(side) => side == "left",
        None => tokenizer.get_truncation().is_some_and(|found| matches!(found.direction, TruncationDirection::Left)),
    };
    tokenizer.with_truncation(is_left.then(left_side)).map_err(failed)?;
    let defaults = if matches!(class, Class::Bert { .. }) { &Role::ALL[..] } else { &[] };
    let added = settings.added_tokens(&files, &tokenizer, defaults)?;
    tokenizer.add_tokens(added).map_err(failed)?;
    if settings.flag("split_special_tokens")? == Some(true) {
        tokenizer.set_encode_special_tokens(true);
    }
    surround(&mut tokenizer, class, &settings)?;
    if tokenizer.get_post_processor().is_none() {
        notes.push(format!(
            "`{}` puts no `[CLS]` and `[SEP]` around texts, as in transformers: its tokenizer.json has no post-processor, and \
             its class is not `BertTokenizer`",
            path.display()
        ));
    }
    let has_types = match class {
        Class::Bert { has_types } => has_types,
        Class::AsItIs { is_bert } => is_bert,
    };
    if !settings.input_has_types()?.unwrap_or(has_types) {
        template::drop_types(&mut tokenizer)?;
    }
    Ok(Pretrained { tokenizer, says_case, notes })
}

/// A hash of the files by which [`open`] goes: that of the file itself where it is alone.
///
/// # Errors
/// As [`open`], as far as files are read.
pub fn files_hash(path: &Path) -> Result<String, TokenizerError> {
    let hashes: Vec<String> =
        Files::find(path)?.all().iter().map(|path| Ok(hash(&files::read(path)?))).collect::<Result<_, _>>()?;
    match &hashes[..] {
        [alone] => Ok(alone.clone()),
        _ => Ok(hash(hashes.join("\n").as_bytes())),
    }
}

/// Puts BERT's special tokens around texts, where the class does or nothing else is known.
fn surround(tokenizer: &mut Tokenizer, class: Class, settings: &Settings) -> Result<(), TokenizerError> {
    let is_bert = match class {
        Class::Bert { .. } => true,
        Class::AsItIs { is_bert } => is_bert && tokenizer.get_post_processor().is_none(),
    };
    if is_bert {
        let name = |role: Role| settings.name(role).unwrap_or_else(|| role.standard().to_owned());
        if let Some(template) = template::bert(tokenizer, &name(Role::Cls), &name(Role::Sep))? {
            tokenizer.with_post_processor(Some(template));
        }
    }
    Ok(())
}

fn failed(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Tokenise(error.to_string())
}

/// A truncation that never truncates: it stands for the side.
fn left_side() -> TruncationParams {
    TruncationParams { max_length: usize::MAX, direction: TruncationDirection::Left, ..Default::default() }
}

fn read_json(path: &Path) -> Result<Tokenizer, TokenizerError> {
    let bytes = files::read(path)?;
    tokenizer_from_bytes(&bytes).map_err(|message| TokenizerError::Parse { path: path.to_owned(), message })
}

/// The vocabulary without added tokens.
fn model_vocabulary(tokenizer: &Tokenizer) -> Result<AHashMap<String, u32>, TokenizerError> {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(_) => Ok(tokenizer.get_vocab(false).into_iter().collect()),
        model => Err(TokenizerError::NotWordPiece { got: kind(model) }),
    }
}

/// Whether a token of letters has a capital one: lower-cased text never gives it.
fn has_capitals(vocabulary: &AHashMap<String, u32>) -> bool {
    vocabulary.keys().any(|token| {
        let letters = token.strip_prefix(CONTINUATION).unwrap_or(token);
        letters.chars().all(char::is_alphabetic) && letters.chars().any(char::is_uppercase)
    })
}

/// What `BertTokenizer` builds around a vocabulary.
fn bert(vocabulary: AHashMap<String, u32>, settings: &Settings, casing: Casing) -> Result<Tokenizer, TokenizerError> {
    let unknown = settings.name(Role::Unk).unwrap_or_else(|| Role::Unk.standard().to_owned());
    if !vocabulary.contains_key(&unknown) {
        return Err(TokenizerError::MissingSpecialToken { token: unknown });
    }
    let chinese = settings.flag("tokenize_chinese_chars")?.unwrap_or(true);
    let normalizer = BertNormalizer::new(true, chinese, casing.strip_accents, casing.lowercase);
    around_vocabulary(vocabulary, unknown, normalizer)
}
