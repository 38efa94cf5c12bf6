<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

/** The file that tells the service which queues have callbacks. */
class ServiceFile
{
	public const NAME = 'freepbx.yaml';

	private string $directory;

	public function __construct(string $directory)
	{
		$this->directory = $directory;
	}

	/**
	 * Returns the contents of the file.
	 *
	 * @param array<string, QueueSettings> $queues
	 */
	public static function text(ModuleSettings $module, array $queues): string
	{
		$lines = [
			'# Written by the FreePBX module "Queue Callback" at each Apply Config: change the',
			"# settings there. Other settings belong into the service's own file.",
			$queues ? 'queues:' : 'queues: {}',
		];
		foreach ($queues as $queue => $of) {
			$settings = array_filter([
				'outbound_channel' => $of->outbound !== '' ? $of->outbound : $module->outbound,
				'attempts' => $of->attempts !== '' ? (int) $of->attempts : '',
				'outbound_caller_id' => $of->callerId,
			], fn ($value) => $value !== '');
			$lines[] = '  ' . self::quoted((string) $queue) . ':';
			foreach ($settings as $name => $value) {
				$lines[] = "    $name: " . (is_int($value) ? $value : self::quoted($value));
			}
		}
		return implode("\n", $lines) . "\n";
	}

	/** A text as YAML: in double quotes, which YAML and JSON have in common. */
	private static function quoted(string $text): string
	{
		return json_encode($text, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR);
	}

	/**
	 * Replaces the file: its readers see the former one or the new one as a whole.
	 *
	 * @return string[] what went wrong, and what to do
	 */
	public function write(string $text): array
	{
		$file = $this->path();
		// An unchanged file makes the service reload nothing.
		if (is_file($file) && @file_get_contents($file) === $text) {
			return [];
		}
		$new = "$this->directory/." . self::NAME . '.new';
		$isWritten = @file_put_contents($new, $text) === strlen($text)
			&& @chmod($new, 0640)
			&& @rename($new, $file);
		$reason = error_get_last()['message'] ?? '';
		// FreePBX takes an error that is left for a failure of Apply Config.
		error_clear_last();
		if ($isWritten) {
			return [];
		}
		@unlink($new);
		return [sprintf(
			_('%1$s can not be written (%2$s). As root: install -d -o asterisk -g callback-queue -m 2750 %3$s'),
			$file,
			$reason,
			$this->directory
		)];
	}

	public function remove(): void
	{
		foreach ([$this->path(), "$this->directory/." . self::NAME . '.new'] as $file) {
			if (is_file($file)) {
				@unlink($file);
			}
		}
	}

	private function path(): string
	{
		return "$this->directory/" . self::NAME;
	}
}
