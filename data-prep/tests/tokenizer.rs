//! WordPiece: the ids of Hugging Face, training that repeats itself, and files that are refused.

use std::fs;
use std::path::{Path, PathBuf};
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
