//! Weights that are not safetensors: what they are, and the command that converts them.

use std::path::Path;

use super::MODEL_FILE;
use crate::error::{quoted, Error};

/// How PyTorch's own files become one model.safetensors. Only tensors are loaded, no code of the file runs, and what a
/// wrapper such as `{"state_dict": ..}` holds is taken out of it.
const FROM_PICKLE: &str = "import glob, sys, torch, safetensors.torch as st; d = sys.argv[1]; \
     w = {k: v for f in sorted(glob.glob(d + '/FILES')) \
     for k, v in torch.load(f, map_location='cpu', weights_only=True).items()}; \
     w = w.get('state_dict', w.get('model', w)); \
     st.save_file({k: v.clone().contiguous() for k, v in w.items() if torch.is_tensor(v)}, \
     d + '/model.safetensors', metadata={'format': 'pt'})";

/// The error for a folder without weights that can be read, of which these are the `names`.
pub(super) fn unreadable(dir: &Path, names: &[String]) -> Error {
    let of = |is: &dyn Fn(&str) -> bool| -> Vec<&String> { names.iter().filter(|name| is(name)).collect() };
    let shown = dir.display();
    let missing = |what: String| Error::data(format!("`{shown}` has no `{MODEL_FILE}`{what}"));
    // As in a shell, so that the command can be pasted.
    let argument = format!("'{}'", shown.to_string().replace('\'', r"'\''"));
    let pickles = of(&|name| name.starts_with("pytorch_model") && name.ends_with(".bin"));
    if !pickles.is_empty() {
        let files = if pickles.iter().any(|name| *name == "pytorch_model.bin") {
            "pytorch_model.bin"
        } else if pickles.len() == 1 {
            pickles[0].as_str()
        } else {
            "pytorch_model*-of-*.bin"
        };
        let command = FROM_PICKLE.replace("FILES", files);
        return missing(format!(", only {}, which is not read", quoted(&pickles))).hint(format!(
            "convert it once (`pip install torch safetensors numpy`):\npython3 -c \"{command}\" {argument}"
        ));
    }
    let through = |from: &str, packages: &str| {
        format!(
            "convert it once with a transformers that still reads it (`pip install \"transformers<5\" torch {packages}`):\n\
             python3 -c \"import sys; from transformers import AutoModelForMaskedLM as M; \
             M.from_pretrained(sys.argv[1], {from}=True).save_pretrained(sys.argv[1])\" {argument}"
        )
    };
    let flax = of(&|name| name.starts_with("flax_model") && name.contains(".msgpack"));
    if !flax.is_empty() {
        return missing(format!(", only weights of Flax: {}", quoted(&flax))).hint(through("from_flax", "flax"));
    }
    let keras = of(&|name| name.starts_with("tf_model") && name.contains(".h5"));
    if !keras.is_empty() {
        return missing(format!(", only weights of TensorFlow: {}", quoted(&keras)))
            .hint(through("from_tf", "tf-keras"));
    }
    if names.iter().any(|name| name.contains(".ckpt")) {
        return missing(", only a checkpoint of TensorFlow".into()).hint(google(dir));
    }
    let adapters = of(&|name| name.starts_with("adapter_model."));
    if !adapters.is_empty() {
        return missing(format!(", only an adapter: {}", quoted(&adapters)))
            .hint("merge it into its base model with PEFT's `merge_and_unload()` and `save_pretrained` the result");
    }
    let others = of(&|name| {
        [".safetensors", ".onnx", ".ot", ".gguf", ".bin", ".pt", ".pth", ".npz"].iter().any(|end| name.ends_with(end))
    });
    let found = if others.is_empty() { String::new() } else { format!("; it has {}", quoted(&others)) };
    missing(found).hint(format!(
        "give a folder with `{MODEL_FILE}`, as `untie export` or transformers' `save_pretrained` writes it"
    ))
}

/// How a checkpoint of Google's BERT becomes a model of transformers.
pub(super) fn google(dir: &Path) -> String {
    format!(
        "this is a checkpoint of Google's BERT: convert it once with `pip install \"transformers<5\" torch tensorflow` and \
         `transformers.models.bert.convert_bert_original_tf_checkpoint_to_pytorch` (`--tf_checkpoint_path {0}/bert_model.ckpt \
         --bert_config_file {0}/bert_config.json`)",
        dir.display()
    )
}
