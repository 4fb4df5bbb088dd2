"""`fin eval`: lm-eval's own command line with our tasks, and our model classes with many adapters and resuming."""

import click

_HELP = {"-h", "--help"}
_LISTINGS = {"ls", "validate"}


@click.command(
    "eval",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run lm-eval with the fin tasks: all arguments of lm-eval, and a few more for --model fin_vllm and fin_hf.

    Works without the start-up file: the task folder is passed as `--include_path`, beside yours if you give one.

    \b
    Examples:
      fin eval --tasks fin_unseen --model hf --model_args pretrained=MODEL --apply_chat_template
      fin eval ls tasks

    fin_vllm and fin_hf score all labels of a document from one prefill, and take any number of LoRA adapters: the base
    and every adapter are scored on one engine, each with the result and sample files that lm-eval alone would write.

    \b
      fin eval --model fin_vllm --model_args pretrained=BASE --adapter fomc=PATH --adapter fpb=PATH \\
        --tasks fin --apply_chat_template --output_path results/

    \b
      --adapter NAME=PATH   a PEFT LoRA folder; repeatable
      --no-base             do not score the base
      --verify-adapters     first compare every adapter with PEFT on a probe prompt
      --any-base            accept an adapter whose recorded base model is another
      --prune               stop once a document's answer is decided: same answer, fewer steps; the other labels get a
                            bound (fin_vllm; refused if a metric needs every label's score)
      --verbose             show the log lines and bars of lm-eval, transformers and vLLM too (any --model)
      --written NAME=FILE   write a JSON list of the result files of the model NAME (`base`, or an adapter's name) to
                            FILE, whether written now or before; `fin board FILE` reads it; repeatable

    With --output_path, answers are stored in OUTPUT/.fin-eval, one file for each model and task. Running the same
    command again, after a kill or later, asks only what is missing, and nothing if all is there. Answers given with
    other weights, prompts, rows, arguments, dtype, engine, versions or device are never used.
    """  # noqa: D301 (Click's mark, not a regex)
    if not arguments:
        raise click.exceptions.NoArgsIsHelpError(click.get_current_context())
    words = set(arguments)
    if words & _HELP and not words & _LISTINGS:
        click.echo(click.get_current_context().get_help())
        click.echo("\nAll other arguments are lm-eval's own:\n")
    from fin_plugins.evaluation.library_logs import silence_libraries

    if "--verbose" not in words:
        silence_libraries()
    arguments = tuple(argument for argument in arguments if argument != "--verbose")
    from fin_plugins.evaluation.eval_command import FIN_MODELS, parse_command, requested_model, split_flags
    from fin_plugins.evaluation.model_engine import check_model
    from fin_plugins.tasks.lm_eval_cli import run_lm_eval

    flags, rest = split_flags(arguments)
    model = requested_model(rest)
    if model in FIN_MODELS and not words & _HELP:
        from fin_plugins.evaluation.eval_run import run_evaluation

        run_evaluation(parse_command(flags, rest))
        return
    if model and not words & (_HELP | _LISTINGS):
        check_model(model)
    if flags:
        from fin_plugins.common.errors import FinError

        raise FinError(
            f"{flags} can be used with --model fin_vllm or fin_hf only (here: {model or 'none'}): "
            "choose one of these models, or leave the option out"
        )
    run_lm_eval(rest)
