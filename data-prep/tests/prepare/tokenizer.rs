//! WordPiece: the ids of Hugging Face, training that repeats itself, and files that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use untie_data::stages::Normalization;
use untie_data::wordpiece::{self, Casing, SpecialTokens, TokenizerError, SPECIAL_TOKENS};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn encode(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    wordpiece::encode(tokenizer, text, &mut ids).unwrap();
    ids
}

#[derive(serde::Deserialize)]
struct Bert {
    texts: Vec<String>,
    uncased: Vec<Vec<u32>>,
    cased: Vec<Vec<u32>>,
}

/// Made by `fixtures/make_fixtures.py` with BertTokenizerFast of transformers.
#[test]
fn ids_are_those_of_hugging_face() {
    let bert: Bert = serde_json::from_str(&fs::read_to_string(fixtures().join("bert.json")).unwrap()).unwrap();
    for (lowercase, expected) in [(true, &bert.uncased), (false, &bert.cased)] {
        let tokenizer = wordpiece::import(&fixtures().join("vocab.txt"), lowercase).unwrap();
        let dir = tempfile::tempdir().unwrap();
        wordpiece::save(&tokenizer, dir.path()).unwrap();
        let again = wordpiece::import(&dir.path().join("tokenizer.json"), !lowercase).unwrap();
        assert_eq!(wordpiece::casing(&again), Some(lowercase.into()));
        for (text, expected) in bert.texts.iter().zip(expected) {
            assert_eq!(&encode(&tokenizer, text), expected, "{text:?}, lowercase {lowercase}");
            assert_eq!(&encode(&again, text), expected, "{text:?}, lowercase {lowercase}, saved");
        }
        let vocabulary = |dir: &Path| fs::read_to_string(dir.join("vocab.txt")).unwrap();
        assert_eq!(vocabulary(dir.path()), vocabulary(&fixtures()));
    }
}

#[test]
fn text_that_spells_a_special_token_is_text() {
    let tokenizer = wordpiece::import(&fixtures().join("vocab.txt"), true).unwrap();
    let spelled = encode(&tokenizer, "[MASK]");
    let tokens: Vec<String> = spelled.iter().map(|&id| tokenizer.id_to_token(id).unwrap()).collect();
    assert_eq!(tokens, ["[", "mask", "]"]);
}

#[test]
fn long_texts_are_cut_without_a_trace() {
    let tokenizer = wordpiece::import(&fixtures().join("vocab.txt"), true).unwrap();
    let (sentence, num_sentences) = ("the fox runs, café! ", 20_000);
    let expected = encode(&tokenizer, sentence).repeat(num_sentences);
    assert_eq!(encode(&tokenizer, &sentence.repeat(num_sentences)), expected);
}

const TEXT: &str = "the lower the newer\nthe lowest and the newest, low and new: Über-new, überlow!";

#[test]
fn training_repeats_itself_in_any_order_on_any_number_of_threads() {
    let texts: Vec<String> = (0..3000).map(|number| format!("{TEXT} {}", number % 97)).collect();
    let mut backwards = texts.clone();
    backwards.reverse();
    let json = |texts: &[String], threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| wordpiece::to_json(&wordpiece::train(texts.to_vec(), 90, true).unwrap()).unwrap())
    };
    let first = json(&texts, 1);
    assert_eq!(json(&texts, 2), first);
    assert_eq!(json(&backwards, 3), first);
    assert_eq!(wordpiece::hash(first.as_bytes()).len(), 16);
}

#[test]
fn a_trained_vocabulary_starts_with_the_special_tokens_and_spells_its_text() {
    for lowercase in [true, false] {
        let tokenizer = wordpiece::train([TEXT.to_owned()], 1000, lowercase).unwrap();
        let special = SpecialTokens::of(&tokenizer).unwrap();
        assert_eq!(special, SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 });
        let size = wordpiece::vocab_size(&tokenizer);
        assert!(size < 1000 && !encode(&tokenizer, TEXT).contains(&special.unk), "{size}");
        assert_eq!(tokenizer.token_to_id("u").is_some(), lowercase);
        assert_eq!(tokenizer.token_to_id("Ü").is_some(), !lowercase);
        let both = tokenizer.encode(("the low", "new"), true).unwrap();
        assert_eq!((both.get_ids()[0], *both.get_ids().last().unwrap()), (special.cls, special.sep));
        assert_eq!(both.get_type_ids().last(), Some(&1));
    }
}

#[test]
fn truncation_and_padding_of_an_imported_tokenizer_are_dropped() {
    let mut tokenizer = wordpiece::import(&fixtures().join("vocab.txt"), true).unwrap();
    tokenizer.with_truncation(Some(tokenizers::TruncationParams { max_length: 2, ..Default::default() })).unwrap();
    tokenizer.with_padding(Some(tokenizers::PaddingParams::default()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    fs::write(&path, wordpiece::to_json(&tokenizer).unwrap()).unwrap();
    assert_eq!(encode(&wordpiece::import(&path, true).unwrap(), "the fox the fox").len(), 4);
}

#[test]
fn files_that_are_no_bert_tokenizer_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let import = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let error = wordpiece::import(&path, true).unwrap_err();
        error.to_string().replace(&dir.path().display().to_string(), "D")
    };
    let special = SPECIAL_TOKENS.join("\n");
    assert_eq!(
        import("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n".as_bytes()),
        "the tokenizer has no `[MASK]`: expected `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`"
    );
    assert_eq!(
        import("vocab.txt", format!("{special}\nthe\na\nthe\n").as_bytes()),
        "`D/vocab.txt` has the token `the` twice: in line 6 and in line 8"
    );
    assert!(import("vocab.txt", b"\xff").starts_with("`D/vocab.txt` is no tokenizer: "));
    assert!(import("tokenizer.json", b"{}").starts_with("`D/tokenizer.json` is no tokenizer: "));

    let trained = wordpiece::to_json(&wordpiece::train([TEXT.to_owned()], 1000, true).unwrap()).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&trained).unwrap();
    value["model"]["vocab"]["gap"] = 5000.into();
    let size = value["model"]["vocab"].as_object().unwrap().len();
    assert_eq!(
        import("tokenizer.json", value.to_string().as_bytes()),
        format!("the ids of the vocabulary have gaps: expected {size} tokens to end at id {}, got 5000", size - 1)
    );
    value["model"] = serde_json::json!({ "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" });
    assert_eq!(
        import("tokenizer.json", value.to_string().as_bytes()),
        "the tokenizer is not for BERT: expected a `WordPiece` model, got `WordLevel`"
    );
    let missing = wordpiece::import(&dir.path().join("none.txt"), true).unwrap_err();
    assert!(matches!(missing, TokenizerError::Io { .. }), "{missing}");
}

/// Made by `fixtures/make_tokenizers.py`: folders, and what AutoTokenizer of transformers makes of texts with each.
#[derive(serde::Deserialize)]
struct Folders {
    pair: (String, String),
    folders: Vec<AutoFolder>,
}

#[derive(serde::Deserialize)]
struct AutoFolder {
    name: String,
    files: BTreeMap<String, String>,
    texts: Vec<Text>,
    masked: Encoded,
    pair: Encoded,
}

#[derive(serde::Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(serde::Deserialize)]
struct Encoded {
    #[serde(default)]
    text: String,
    ids: Vec<u32>,
    types: Vec<u32>,
}

fn auto_folders() -> Folders {
    serde_json::from_str(&fs::read_to_string(fixtures().join("tokenizers.json")).unwrap()).unwrap()
}

fn written(folder: &AutoFolder) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    folder.files.iter().for_each(|(name, content)| fs::write(dir.path().join(name), content).unwrap());
    dir
}

#[test]
fn a_folder_is_read_as_transformers_reads_it() {
    let Folders { pair, folders } = auto_folders();
    assert!(folders.len() > 30);
    for folder in &folders {
        let (dir, name) = (written(folder), &folder.name);
        let tokenizer = wordpiece::open(dir.path(), true).unwrap_or_else(|error| panic!("{name}: {error}")).tokenizer;
        let masked = tokenizer.encode(folder.masked.text.as_str(), true).unwrap();
        assert_eq!(
            (masked.get_ids(), masked.get_type_ids()),
            (&folder.masked.ids[..], &folder.masked.types[..]),
            "{name}"
        );
        let both = tokenizer.encode((pair.0.as_str(), pair.1.as_str()), true).unwrap();
        assert_eq!((both.get_ids(), both.get_type_ids()), (&folder.pair.ids[..], &folder.pair.types[..]), "{name}");
        // Shards, and a tokenizer that was written and read again.
        let for_shards = wordpiece::import(dir.path(), true).unwrap();
        let saved = tempfile::tempdir().unwrap();
        wordpiece::save(&for_shards, saved.path()).unwrap();
        let again = wordpiece::import(saved.path(), true).unwrap();
        for Text { text, ids } in &folder.texts {
            assert_eq!(&encode(&for_shards, text), ids, "{name}: {text:?}");
            assert_eq!(&encode(&again, text), ids, "{name}, saved: {text:?}");
        }
        assert_eq!(
            SpecialTokens::of(&again).unwrap(),
            SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 },
            "{name}"
        );
    }
}

#[test]
fn a_file_means_what_lies_beside_it_says() {
    let folders = auto_folders().folders;
    for (name, file) in [
        ("vocab.txt, cased", "vocab.txt"),
        ("tokenizer.json lower-cases, tokenizer_config.json does not", "tokenizer.json"),
    ] {
        let folder = folders.iter().find(|folder| folder.name == name).unwrap();
        let dir = written(folder);
        let tokenizer = wordpiece::import(&dir.path().join(file), true).unwrap();
        for Text { text, ids } in &folder.texts {
            assert_eq!(&encode(&tokenizer, text), ids, "{name}: {text:?}");
        }
        // Under another name it is a file alone.
        fs::rename(dir.path().join(file), dir.path().join(format!("my-{file}"))).unwrap();
        let alone = wordpiece::import(&dir.path().join(format!("my-{file}")), true).unwrap();
        assert_eq!(wordpiece::casing(&alone), Some(true.into()), "{name}");
    }
    // The manifest of a folder of shards says it too, with or without tokenizer.json.
    let dir = tempfile::tempdir().unwrap();
    let mut cased = wordpiece::import(&fixtures().join("vocab.txt"), false).unwrap();
    wordpiece::normalize_first(&mut cased, Normalization::Nfkc).unwrap();
    wordpiece::save(&cased, dir.path()).unwrap();
    fs::write(dir.path().join("manifest.json"), r#"{"tokenizer": {"lowercase": false}}"#).unwrap();
    let vocab = dir.path().join("vocab.txt");
    let found = wordpiece::import(&vocab, true).unwrap();
    assert_eq!(wordpiece::to_json(&found).unwrap(), wordpiece::to_json(&cased).unwrap());
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    for (strip_accents, said) in [(None, ""), (Some(true), r#", "strip_accents": true"#)] {
        let manifest = format!(r#"{{"tokenizer": {{"lowercase": false{said}}}}}"#);
        fs::write(dir.path().join("manifest.json"), manifest).unwrap();
        let expected = Some(Casing { lowercase: false, strip_accents });
        let asked = Casing { lowercase: true, strip_accents: Some(false) };
        assert_eq!(wordpiece::casing(&wordpiece::import(&vocab, asked).unwrap()), expected);
        assert_eq!(wordpiece::casing(&wordpiece::import(dir.path(), asked).unwrap()), expected);
    }
    // Where no file says anything, what is asked for counts; an option that a file says counts apart from the others.
    fs::remove_file(dir.path().join("manifest.json")).unwrap();
    let asked = Casing { lowercase: false, strip_accents: Some(true) };
    assert_eq!(wordpiece::casing(&wordpiece::import(&vocab, asked).unwrap()), Some(asked));
    for (config, says_case, expected) in [
        (r#"{"strip_accents": false}"#, false, Casing { lowercase: false, strip_accents: Some(false) }),
        (r#"{"do_lower_case": true}"#, true, Casing { lowercase: true, strip_accents: None }),
    ] {
        fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        let found = wordpiece::open(&vocab, asked).unwrap();
        assert_eq!((found.says_case, wordpiece::casing(&found.tokenizer)), (says_case, Some(expected)), "{config}");
    }
}

#[test]
fn what_a_folder_lacks_or_says_wrongly_has_a_sentence() {
    let special = SPECIAL_TOKENS.join("\n");
    let open = |files: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        let opened = wordpiece::open(dir.path(), true);
        opened.map_err(|error| error.to_string().replace(&dir.path().display().to_string(), "D"))
    };
    for (files, expected) in [
        (&[("config.json", "{}")][..], "`D` has no tokenizer: expected `tokenizer.json` or `vocab.txt` in it"),
        (
            &[("vocab.txt", &special), ("tokenizer_config.json", r#"{"do_lower_case": "no"}"#)],
            "`D/tokenizer_config.json`: `do_lower_case`: expected `true` or `false`, got \"no\"",
        ),
        (
            &[("vocab.txt", &special), ("tokenizer_config.json", r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#)],
            "`D` has a `BertJapaneseTokenizer`, which is not read: expected a `BertTokenizer`",
        ),
        (
            &[("vocab.txt", "the\n")],
            "the tokenizer has no `[UNK]`: expected `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`",
        ),
        (
            &[("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 700\n")],
            "`D/tokenizer.json` is a Git LFS pointer, not the file itself",
        ),
        (
            &[("vocab.txt", &special), ("tokenizer_config.json", "[1]")],
            "`D/tokenizer_config.json` is no tokenizer: expected a JSON object",
        ),
    ] {
        assert_eq!(open(files).unwrap_err(), expected);
    }
    let told =
        open(&[("vocab.txt", &format!("{special}\nThe\n")), ("config.json", r#"{"model_type": "bert"}"#)]).unwrap();
    assert_eq!(told.notes.len(), 1);
    assert!(told.notes[0].contains("no file says `do_lower_case`"), "{}", told.notes[0]);
}

/// The words are what BertWordPieceTokenizer(lowercase=.., strip_accents=..) of tokenizers 0.23.1 makes of the text.
#[test]
fn accents_are_kept_or_stripped_apart_from_case() {
    let text = "Möchte パンダ हिन्दी İ";
    for (lowercase, strip_accents, expected) in [
        (true, Some(false), ["möchte", "パンダ", "हिन्दी", "i̇"]),
        (true, None, ["mochte", "ハンタ", "हिनदी", "i"]),
        (false, Some(true), ["Mochte", "ハンタ", "हिनदी", "I"]),
        (false, None, ["Möchte", "パンダ", "हिन्दी", "İ"]),
    ] {
        let casing = Casing { lowercase, strip_accents };
        let tokenizer = wordpiece::train([format!("{text} {text}")], 1000, casing).unwrap();
        let words: Vec<String> =
            encode(&tokenizer, text).into_iter().map(|id| tokenizer.id_to_token(id).unwrap()).collect();
        assert_eq!(words, expected, "{casing:?}");
        let json: serde_json::Value = serde_json::from_str(&wordpiece::to_json(&tokenizer).unwrap()).unwrap();
        assert_eq!(json["normalizer"]["strip_accents"], serde_json::json!(strip_accents));
        assert_eq!(wordpiece::casing(&tokenizer), Some(casing));
    }
}
