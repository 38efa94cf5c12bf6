<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

/** Links the prompts of the service into Asterisk's directories of sounds. */
class Prompts
{
	private const NAME = 'callback-queue';

	private string $ours;
	private string $sounds;

	/**
	 * @param string $ours directory with one subdirectory for each language
	 * @param string $sounds Asterisk's directory of sounds
	 */
	public function __construct(string $ours, string $sounds)
	{
		$this->ours = $ours;
		$this->sounds = $sounds;
	}

	/**
	 * Installs the languages that Asterisk has; prompts that are there stay.
	 *
	 * @return string[] what went wrong
	 */
	public function install(): array
	{
		$problems = [];
		foreach ($this->links() as $link => $target) {
			if (!is_dir(dirname($link)) || file_exists($link)) {
				continue;
			}
			if (is_link($link)) {
				// It leads nowhere: the module was elsewhere.
				@unlink($link);
			}
			if (!@symlink($target, $link)) {
				$problems[] = sprintf(_('%s can not be linked to %s'), $link, $target);
				error_clear_last();
			}
		}
		return $problems;
	}

	/** Removes the links that lead to this module. */
	public function remove(): void
	{
		foreach ($this->links() as $link => $target) {
			if (is_link($link) && readlink($link) === $target) {
				@unlink($link);
			}
		}
	}

	/** @return array<string, string> target of each link */
	private function links(): array
	{
		$links = [];
		foreach (glob("$this->ours/*", GLOB_ONLYDIR) ?: [] as $directory) {
			$links["$this->sounds/" . basename($directory) . '/' . self::NAME] = $directory;
		}
		return $links;
	}
}
