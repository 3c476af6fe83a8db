"""What Trainer is told of a run."""

from pathlib import Path

from transformers import TrainingArguments

from workers.finetuning.bases import Trainee
from workers.finetuning.data import PackedSplits
from workers.finetuning.plan import TrainingPlan, choose_learning_rate
from workers.finetuning.spec import RunSpec


def training_arguments(
    spec: RunSpec, run_dir: Path, plan: TrainingPlan, trainee: Trainee, splits: PackedSplits
) -> TrainingArguments:
    """A run's numbers as ``transformers``' Trainer wants them."""
    has_validation = len(splits.validation) > 0
    precision = str(trainee.autocast).removeprefix("torch.")
    arguments = TrainingArguments(
        output_dir=str(run_dir),
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.accumulation,
        max_steps=plan.steps,
        learning_rate=choose_learning_rate(spec, trainee.width),
        lr_scheduler_type=spec.schedule,
        warmup_steps=plan.warmup_steps,
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=precision == "bfloat16",
        fp16=precision == "float16",
        use_cpu=trainee.device.type == "cpu",
        ddp_backend="gloo" if trainee.device.type == "cpu" and spec.processes > 1 else None,
        seed=spec.seed,
        data_seed=spec.seed,
        eval_strategy="steps" if has_validation else "no",
        eval_steps=plan.evaluate_every,
        save_strategy="steps",
        save_steps=plan.save_every,
        save_total_limit=spec.save_total_limit,
        metric_for_best_model="eval_loss" if has_validation else None,
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        # RunHooks says when.
        logging_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=trainee.device.type == "cuda",
        # Or the host would wait for the step under way before it prepares the next one.
        accelerator_config={"non_blocking": trainee.device.type == "cuda"},
    )
    # It would part each batch over all GPUs that it sees; they train together by torchrun alone.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
