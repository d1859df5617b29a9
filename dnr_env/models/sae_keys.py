"""The names in the files of SAELens 2.0 to 6.54 and sparsify (eai-sparsify 0.0.1 to 1.3.3, earlier EleutherAI/sae).

The keys below say where and how an autoencoder was trained. They change nothing about its features. A key that is
neither here nor read by `sae_file` is refused, because it may change everything.
"""

from __future__ import annotations

SAELENS_TRAINING = frozenset({
    "act_store_device", "activations_mixing_fraction", "adam_beta1", "adam_beta2", "autocast", "autocast_lm",
    "aux_loss_coefficient", "b_dec_init_method", "cached_activations_path", "checkpoint_path", "compile_llm",
    "compile_sae", "context_size", "dataset_path", "dataset_trust_remote_code", "dead_feature_threshold",
    "dead_feature_window", "decoder_heuristic_init", "decoder_heuristic_init_norm", "decoder_init_norm",
    "decoder_orthogonal_init", "device", "disable_concat_sequences", "dtype", "eval_batch_size_prompts",
    "eval_every_n_wandb_logs", "exclude_special_tokens", "expansion_factor", "feature_sampling_window",
    "finetuning_method", "finetuning_scaling_factor", "finetuning_tokens", "from_pretrained_path", "hf_hook_name",
    "hook_eval", "hook_layer", "hook_point_eval", "hook_point_layer", "init_encoder_as_decoder_transpose",
    "is_dataset_tokenized", "jumprelu_bandwidth", "jumprelu_init_threshold", "jumprelu_sparsity_loss_mode",
    "jumprelu_ste_to_input", "jumprelu_tanh_scale", "l0_coefficient", "l0_warm_up_steps", "l1_coefficient",
    "l1_warm_up_steps", "llm_compilation_mode", "llm_device", "log_activations_store_to_wandb",
    "log_optimizer_state_to_wandb", "log_to_wandb", "log_weights_to_wandb", "logger", "lp_norm", "lr",
    "lr_decay_steps", "lr_end", "lr_scheduler_name", "lr_warm_up_steps", "matryoshka_widths", "model_class_name",
    "model_from_pretrained_kwargs", "model_kwargs", "model_name", "mse_loss_normalization",
    "n_batches_for_norm_estimate", "n_batches_in_buffer", "n_checkpoints", "n_eval_batches", "n_restart_cycles",
    "neuronpedia_id", "noise_scale", "normalize_sae_decoder", "output_path", "pre_act_loss_coefficient",
    "prefetch_llm_batches", "prepend_bos", "resume", "resume_from_checkpoint", "run_name", "sae_compilation_mode",
    "sae_lens_training_version", "sae_lens_version", "save_final_checkpoint",
    "scale_sparsity_penalty_by_decoder_norm", "seed", "seqpos_slice", "sequence_separator_token",
    "store_batch_size", "store_batch_size_prompts", "streaming", "target_l0", "tokens_per_buffer",
    "topk_threshold_lr", "total_training_tokens", "train_batch_size", "train_batch_size_tokens",
    "training_tokens", "use_cached_activations", "use_chat_formatting", "use_ghost_grads",
    "use_matryoshka_aux_loss", "use_sparse_activations", "verbose", "wandb_entity", "wandb_id",
    "wandb_log_frequency", "wandb_project",
})  # fmt: skip
"""Keys of SAELens's `cfg.json` that change nothing. Until version 3 it held all settings of the training run."""

SAELENS_READ = frozenset({
    "architecture", "activation_fn", "activation_fn_str", "activation_fn_kwargs", "apply_b_dec_to_input", "d_in",
    "d_sae", "hook_head_index", "hook_name", "hook_point", "hook_point_head_index", "k", "metadata",
    "normalize_activations", "rescale_acts_by_decoder_norm", "reshape_activations",
})  # fmt: skip
"""Keys of SAELens's `cfg.json` that are read."""

SAELENS_DECODER = frozenset({"W_dec", "b_dec", "scaling_factor", "finetuning_scaling_factor"})
"""Tensors that any of SAELens's files may hold. `b_dec` may be subtracted from the input."""

SAELENS_TENSORS = {
    "standard": {"W_enc", "b_enc"},
    "topk": {"W_enc", "b_enc"},
    "abstopk": {"W_enc", "b_enc"},
    "jumprelu": {"W_enc", "b_enc", "threshold"},
    "gated": {"W_enc", "b_gate", "b_mag", "r_mag"},
    "batchtopk": {"W_enc", "b_enc", "topk_threshold"},
    "matryoshka_batchtopk": {"W_enc", "b_enc", "topk_threshold"},
}
"""The tensors of the encoder by SAELens's architecture. The last two occur in checkpoints during training only."""

SAELENS_REFUSED = {
    "transcoder": "the input of a module",
    "skip_transcoder": "the input of a module",
    "jumprelu_transcoder": "the input of a module",
    "jumprelu_skip_transcoder": "the input of a module",
    "temporal": "attention over the positions",
    "matching_pursuit": "a search that repeats encoding and decoding",
}
"""What SAELens's other architectures would need."""

SPARSIFY_TRAINING = frozenset({"expansion_factor", "normalize_decoder", "multi_topk", "skip_connection"})
"""Keys of sparsify's `cfg.json` that change nothing about the features of a file with given tensors."""

SPARSIFY_READ = frozenset({"activation", "d_in", "k", "num_latents", "signed", "transcode"})
"""Keys of sparsify's `cfg.json` that are read."""

SPARSIFY_TENSORS = frozenset({"encoder.weight", "encoder.bias", "b_dec"})
SPARSIFY_DECODER = frozenset({"W_dec", "W_skip"})

OTHERS = {
    "dictionary_learning": (
        ("decoder", "decoder_bias", "gate_bias", "mag_bias", "group_sizes", "bias", "k"),
        ("trainer", "buffer"),
        "its class, which only its `config.json` names",
    ),
    "overcomplete": (
        ("dictionary", "encoder.final_block", "encoder.mlp_blocks", "thresholds"),
        (),
        "its encoder module, which may be any network",
    ),
    "Prisma": (
        (),
        ("cls_token_only", "layer_subtype", "vit_model_cfg", "use_patches_only", "is_transcoder"),
        "its input normalised over the tokens that its `config.json` describes",
    ),
}
"""Other libraries: their tensors or the modules of these, keys of their settings, and what they would need."""
