//! What stands around texts, and the segments.

use serde_json::{json, Value};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{PostProcessorWrapper, Tokenizer};

use crate::wordpiece::TokenizerError;

/// `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`, B in segment 1; nothing where the tokenizer lacks one of the two.
pub(in crate::wordpiece) fn bert(
    tokenizer: &Tokenizer,
    cls: &str,
    sep: &str,
) -> Result<Option<TemplateProcessing>, TokenizerError> {
    let (Some(cls_id), Some(sep_id)) = (tokenizer.token_to_id(cls), tokenizer.token_to_id(sep)) else {
        return Ok(None);
    };
    let special = vec![(cls.to_owned(), cls_id), (sep.to_owned(), sep_id)];
    TemplateProcessing::builder()
        .try_single(format!("{cls}:0 $A:0 {sep}:0"))
        .and_then(|builder| builder.try_pair(format!("{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1")))
        .map_err(TokenizerError::Tokenise)?
        .special_tokens(special)
        .build()
        .map(Some)
        .map_err(|error| TokenizerError::Tokenise(error.to_string()))
}

/// Puts everything into segment 0, as a model reads it whose inputs have no segments.
pub(super) fn drop_types(tokenizer: &mut Tokenizer) -> Result<(), TokenizerError> {
    let failed = |error: &dyn std::fmt::Display| TokenizerError::Tokenise(error.to_string());
    let without = match tokenizer.get_post_processor() {
        None => template(&json!([]), &json!([]), &json!([]), json!({})),
        Some(PostProcessorWrapper::Bert(found)) => {
            let token =
                |(name, id): (String, u32)| (json!({ "SpecialToken": { "id": name, "type_id": 0 } }), name.clone(), id);
            let (cls, cls_name, cls_id) = token(found.get_cls_copy());
            let (sep, sep_name, sep_id) = token(found.get_sep_copy());
            let special = json!({
                cls_name.clone(): { "id": cls_name, "ids": [cls_id], "tokens": [cls_name] },
                sep_name.clone(): { "id": sep_name, "ids": [sep_id], "tokens": [sep_name] },
            });
            template(&json!([cls]), &json!([sep]), &json!([sep]), special)
        }
        Some(other) => {
            let mut value = serde_json::to_value(other).map_err(|error| failed(&error))?;
            set_types(&mut value);
            value
        }
    };
    let processor: PostProcessorWrapper = serde_json::from_value(without).map_err(|error| failed(&error))?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// A template of all in segment 0, from what stands before, between and behind.
fn template(before: &Value, between: &Value, behind: &Value, special: Value) -> Value {
    let text = |name: &str| json!([{ "Sequence": { "id": name, "type_id": 0 } }]);
    let joined = |parts: &[&Value]| -> Value {
        parts.iter().filter_map(|part| part.as_array()).flatten().cloned().collect::<Vec<_>>().into()
    };
    json!({
        "type": "TemplateProcessing",
        "single": joined(&[before, &text("A"), behind]),
        "pair": joined(&[before, &text("A"), between, &text("B"), behind]),
        "special_tokens": special,
    })
}

fn set_types(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match key.as_str() {
            "type_id" => *value = json!(0),
            _ => set_types(value),
        }),
        Value::Array(values) => values.iter_mut().for_each(set_types),
        _ => {}
    }
}
