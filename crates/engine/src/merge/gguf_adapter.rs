//! An adapter alone as a GGUF file, for llama.cpp to apply on the base's GGUF. Main function: [`write_gguf_adapter`].

use std::path::Path;

use super::gguf_metadata::{architecture, text};
use crate::backend::Factors;
use crate::error::EngineError;
use crate::format::{
    DataType, GgufEntry, GgufFile, GgufValue, ModelConfig, RowOrder, gguf_name, row_order,
};
use crate::lora::{Layout, LoraConfig};

/// Writes the factors as F32: `NAME.lora_a` (rank, in) and `NAME.lora_b` (out, rank) for each adapted weight, the rows of B in
/// the order of the weight's. llama.cpp scales with one `adapter.lora.alpha` over each pair's rank, so a rank-stabilised scale
/// is written as the alpha that gives it, and a module with another scale has the ratio in its B.
///
/// # Errors
/// The adapter has magnitudes (DoRA), for which the format has no place, or the file cannot be written.
pub fn write_gguf_adapter(
    path: &Path,
    name: &str,
    model: &ModelConfig,
    (config, layout, values): (&LoraConfig, &Layout, &[f32]),
    extra: &[(&str, String)],
) -> Result<(), EngineError> {
    if config.dora {
        let reason = "an adapter alone has no place for DoRA's magnitudes in GGUF; \
                      export the merged model instead"
            .to_owned();
        return Err(EngineError::Merge { reason });
    }
    let mut out = GgufFile::default();
    out.set("general.architecture", text(architecture(model.family)));
    out.set("general.type", text("adapter"));
    out.set("adapter.type", text("lora"));
    out.set("general.name", text(name));
    let alpha_of = |place: &Factors| place.scale * place.rank as f32;
    let alpha = layout.all().next().map_or(config.alpha as f32, |(_, _, place)| alpha_of(place));
    out.set("adapter.lora.alpha", GgufValue::F32(alpha));
    for (key, value) in extra {
        out.set(key, text(value));
    }
    let mut factors: Vec<(String, Vec<f32>)> = Vec::new();
    for (block, projection, place) in layout.all() {
        let weight = format!("model.layers.{block}.{}.weight", projection.path());
        let stored = gguf_name(&weight).unwrap_or(weight.clone());
        let (a, b) = (&values[place.a.clone()], &values[place.b.clone()]);
        let rank = place.rank;
        let mut add = |ending: &str, shape: Vec<usize>, values: Vec<f32>| {
            let name = format!("{stored}.{ending}");
            out.add(GgufEntry { name: name.clone(), shape, data_type: DataType::F32 });
            factors.push((name, values));
        };
        add("lora_a", vec![rank, a.len() / rank], a.to_vec());
        let mut ordered = reordered(b, rank, row_order(model, &weight));
        if alpha_of(place) != alpha {
            let ratio = alpha_of(place) / alpha;
            for value in &mut ordered {
                *value *= ratio;
            }
        }
        add("lora_b", vec![b.len() / rank, rank], ordered);
    }
    out.write(path, &mut |name, file| {
        let values = factors.iter().find(|(known, _)| known == name).map(|(_, values)| values);
        values.into_iter().flatten().try_for_each(|value| file.write_all(&value.to_le_bytes()))
    })?;
    Ok(())
}

/// Rows of `width` values as they are stored.
fn reordered(values: &[f32], width: usize, order: RowOrder) -> Vec<f32> {
    let rows = 0..values.len() / width;
    rows.flat_map(|stored| &values[order.row_at(stored) * width..][..width]).copied().collect()
}
